//! What scorers said of the pictures that were sampled for a job.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Measure;

/// What scorers said of the pictures that were sampled for a job with a [`Gate`](crate::Gate).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Scores {
    /// Whether the picture reaches all thresholds.
    pub accepted: bool,
    /// Which try the picture is, from 0.
    pub taken: u32,
    /// All pictures that were sampled, in order.
    pub tries: Vec<Try>,
    /// How each score is made: the scorer's model and the first digits of its weights' digest, or the measure and its
    /// version. Compare scores of one profile alone.
    pub profiles: BTreeMap<Measure, String>,
    /// Perceptual hash of the picture in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phash: Option<String>,
}

impl Scores {
    /// The try that was taken.
    pub fn taken(&self) -> Option<&Try> {
        self.tries.get(self.taken as usize)
    }
}

/// One picture that was sampled for a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Try {
    /// Its seed.
    pub seed: u64,
    /// What it scored.
    pub scores: BTreeMap<Measure, f64>,
    /// The step after which it was dropped, and scored as it was predicted by then; none if it was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u32>,
    /// What the device did for it, in milliseconds.
    pub device_ms: u64,
}
