//! One process of the check.

use super::task::DeviceTask;
use super::{parity, resume, self_test, tiers};
use crate::client::tell;

/// Does what it is told, and answers with a line of JSON.
pub(crate) fn work(task: &DeviceTask) -> anyhow::Result<()> {
    match task {
        DeviceTask::SelfTest { device } => tell(&self_test::run(device)?),
        DeviceTask::Parity { device } => tell(&parity::run(device)?),
        DeviceTask::Resume { device } => tell(&resume::run(device)?),
        DeviceTask::Tier(task) => tell(&tiers::run(task)?),
    }
}
