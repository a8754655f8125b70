//! What one process of the check is to do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A task, as one process tells it to another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeviceTask {
    /// Runs the engine's own test on the bundled model.
    SelfTest { device: String },
    /// Compares each kernel with its reference.
    Kernels { device: String },
    /// Compares the device with the CPU.
    Parity { device: String },
    /// Stops and resumes a sample.
    Resume { device: String },
    /// Times a tier.
    Tier(TierTask),
}

/// A tier to be timed.
#[derive(Serialize, Deserialize)]
pub(crate) struct TierTask {
    pub(super) device: String,
    pub(super) folder: PathBuf,
    pub(super) tier: String,
    /// Width, height, side of the content reference, styles, steps.
    pub(super) picture: (u32, u32, Option<u32>, u32, u32),
}
