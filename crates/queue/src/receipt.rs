//! What a picture took.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the time of the attempt that succeeded went, and what it was made on. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Receipt {
    /// From the job's acceptance to the attempt's claim.
    pub wait_ms: u64,
    /// Fetching the references.
    pub fetch_ms: u64,
    /// Turning prompt and references into what the device samples from.
    pub encode_ms: u64,
    /// All that the device did for the job: encoding, steps, previews, copies and decoding.
    pub device_ms: u64,
    /// The steps alone.
    pub sample_ms: u64,
    /// Steps done in this attempt.
    pub steps: u32,
    /// The step of the copy from which it went on; 0 for one drawn from the start.
    pub resumed_from: u32,
    /// Turning what was sampled into a picture.
    pub decode_ms: u64,
    /// Storing the picture.
    pub upload_ms: u64,
    /// Size of the fetched references.
    pub fetched_bytes: u64,
    /// Size of the stored picture.
    pub stored_bytes: u64,
    /// Prompts and references whose features were there from earlier jobs.
    pub cache_hits: u32,
    /// How often it was set aside for another job.
    pub set_aside: u32,
    /// Attempts begun, this one included.
    pub attempts: u32,
    /// The device it was drawn on, for example `cuda:0`.
    pub worker: String,
    /// What it was drawn with.
    pub model: String,
    /// Whether the engine was a scripted one, which draws nothing real.
    pub scripted: bool,
}
