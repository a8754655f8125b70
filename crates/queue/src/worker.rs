//! What a worker says of itself.

use serde::{Deserialize, Serialize};

/// What others see of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerReport {
    /// Its machine.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// What it draws on, for example `cuda:0`.
    pub device: String,
    /// What it draws with.
    pub model: String,
    /// Pictures it can draw at once.
    pub slots: u32,
    /// Jobs it holds now.
    pub running: u32,
    /// What it has free for one job, in the unit in which jobs are too big; none if it does not say.
    pub capacity: Option<u64>,
}
