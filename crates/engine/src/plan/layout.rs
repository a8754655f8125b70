//! The plan itself.

use serde::Serialize;

use super::budget::{DeviceBudget, HostBudget};
use super::cost::{OpCost, Seconds, StepCost};
use super::hardware::Hardware;
use super::joint::JointStep;
use super::parts::PartPlan;
use super::picture::Picture;
use super::refused::Refused;
use crate::placement::Placement;

/// How a model is laid out on some hardware, and what that costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The model's name.
    pub model: String,
    /// The hardware that the plan is for.
    pub hardware: Hardware,
    /// The compute type.
    pub dtype: &'static str,
    /// The largest picture.
    pub picture: Picture,
    /// Tokens of the largest picture.
    pub tokens: u64,
    /// How the matrices of the transformer's blocks are kept.
    pub tier: String,
    /// Where all parts are.
    pub placement: Placement,
    /// Bytes of weight files that loading reads.
    pub stored_bytes: u64,
    /// Memory of each part.
    pub parts: Vec<PartPlan>,
    /// The device's memory.
    pub device: DeviceBudget,
    /// The host's memory.
    pub host: HostBudget,
    /// Bytes of device memory that are left.
    pub left_bytes: u64,
    /// Part of `left_bytes` that encoded prompts and references may take.
    pub cache_bytes: u64,
    /// Samples in progress that were asked for.
    pub slots: u64,
    /// Samples in progress that would fit.
    pub slots_fit: u64,
    /// Seconds of a step; None for a card of unknown speed.
    pub step: Option<StepCost>,
    /// A step of several samples together; None if no two fit.
    pub together: Option<JointStep>,
    /// The operations of a step, by their names.
    pub step_ops: Vec<OpCost>,
    /// What a job takes besides its steps.
    pub job: Job,
    /// Better plans that do not fit, the best first.
    pub refused: Vec<Refused>,
}

/// What each job takes once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Job {
    /// Bytes of weights that are read and copied to the device.
    pub read_bytes: u64,
    /// Seconds of these copies, if the files are in the page cache.
    pub reading: Option<Seconds>,
    /// Seconds of T5 for the prompt, if it is not in the cache.
    pub prompt: Option<Seconds>,
}
