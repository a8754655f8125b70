//! What one process of the check is to do.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{parity, resume, self_test, tiers};
use crate::client::tell;
use crate::engine::task::{Task, ask};

/// A task, as one process tells it to another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::engine) enum DeviceTask {
    /// Runs the engine's own test on the bundled model.
    SelfTest { device: String },
    /// Compares the device with the CPU.
    Parity { device: String },
    /// Stops and resumes a sample.
    Resume { device: String },
    /// Times a tier.
    Tier(TierTask),
}

/// A tier to be timed.
#[derive(Serialize, Deserialize)]
pub(in crate::engine) struct TierTask {
    pub(super) device: String,
    pub(super) folder: PathBuf,
    pub(super) tier: String,
    /// Width, height, side of the content reference, styles, steps.
    pub(super) picture: (u32, u32, Option<u32>, u32, u32),
}

/// Does what it is told, and answers with a line of JSON.
pub(in crate::engine) fn work(task: &DeviceTask) -> anyhow::Result<()> {
    match task {
        DeviceTask::SelfTest { device } => tell(&self_test::run(device)?),
        DeviceTask::Parity { device } => tell(&parity::run(device)?),
        DeviceTask::Resume { device } => tell(&resume::run(device)?),
        DeviceTask::Tier(task) => tell(&tiers::run(task)?),
    }
}

/// Has a task done in a process of its own, which is ended once the time is over.
pub(super) async fn ask_within<T: DeserializeOwned>(left: Duration, task: DeviceTask) -> anyhow::Result<T> {
    ensure!(!left.is_zero(), "the time was over");
    match timeout(left, ask(&Task::Device(task))).await {
        Ok(answer) => answer,
        Err(_) => anyhow::bail!("the time was over before it ended"),
    }
}
