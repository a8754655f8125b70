//! What became of a row.

use serde::{Deserialize, Serialize};
use uso_queue::{Failure, JobId, JobSpec, Output, State};

/// What became of a row: one line of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The row's number in its batch, from 0.
    pub row: u64,
    /// The row's key in its batch.
    pub key: String,
    /// The job that it was.
    pub job: JobId,
    /// How it ended.
    pub state: State,
    /// What was asked for.
    pub spec: JobSpec,
    /// The picture, if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Why it failed, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Attempts begun.
    pub attempt: u32,
    /// When it was queued, in milliseconds since the epoch.
    pub submitted_ms: u64,
    /// When its first attempt began, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended, in milliseconds since the epoch.
    pub finished_ms: u64,
}
