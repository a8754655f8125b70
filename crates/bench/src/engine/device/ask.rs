//! Has the parts of the check done, each in a process of its own.

use std::time::Duration;

use anyhow::ensure;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::task::DeviceTask;
use crate::engine::task::{Task, ask};

/// Has a task done in a process of its own, which is ended once the time is over.
pub(super) async fn ask_within<T: DeserializeOwned>(left: Duration, task: DeviceTask) -> anyhow::Result<T> {
    ensure!(!left.is_zero(), "the time was over");
    match timeout(left, ask(&Task::Device(task))).await {
        Ok(answer) => answer,
        Err(_) => anyhow::bail!("the time was over before it ended"),
    }
}
