//! One process of the check.

use super::task::DeviceTask;
use super::{kernels, parity, resume, self_test, tiers};
use crate::client::answer_with;

/// Does what it is told, and answers with a line of JSON.
pub(crate) fn work(task: &DeviceTask) -> anyhow::Result<()> {
    match task {
        DeviceTask::SelfTest { device } => answer_with(&self_test::run(device)?),
        DeviceTask::Kernels { device } => answer_with(&kernels::run(device)?),
        DeviceTask::Parity { device } => answer_with(&parity::run(device)?),
        DeviceTask::Resume { device } => answer_with(&resume::run(device)?),
        DeviceTask::Tier(task) => answer_with(&tiers::run(task)?),
    }
}
