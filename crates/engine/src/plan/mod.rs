//! Plans whether and how a model fits, and what it costs, from headers alone, before anything is loaded.
//!
//! [`Outline`] has what the headers say, [`Hardware`] what the machine has, [`Terms`] what is asked for. [`Plan::new`]
//! goes through the possible placements, the best first, and takes the first that fits. It knows the memory of parts by
//! their sizes, and that of samples by a trace of their operations. The same traces give the footprints by which
//! samples are admitted.

mod budget;
mod cards;
mod choose;
mod cost;
mod hardware;
mod order;
mod outline;
mod parts;
mod picture;
mod text;
mod trace;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use self::budget::{
    CONTEXT_BYTES, DeviceBudget, HOST_RESERVE_BYTES, HostBudget, LOADING_BYTES, RESERVE_BYTES, SLACK_SHARE,
    UNACCOUNTED_BYTES, WORKSPACE_BYTES,
};
pub use self::choose::{Refused, Terms};
pub use self::cost::{Seconds, StepCost};
pub use self::hardware::{Backend, Hardware, Speed};
pub use self::order::Wishes;
pub use self::outline::Outline;
pub use self::parts::PartPlan;
pub use self::picture::Picture;
pub use self::trace::Peak;
#[cfg(test)]
pub(crate) use self::trace::Trace;
pub(crate) use self::trace::Tracer;
use crate::Error;
pub use crate::placement::{Blocks, Keep, Place, Placement, T5Place};

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

impl Plan {
    /// The best plan that fits. Opens and loads nothing.
    ///
    /// # Errors
    /// [`Error::Request`] for a size or setting that is not possible, [`Error::Plan`] if nothing fits.
    pub fn new(outline: &Outline, hardware: &Hardware, terms: &Terms) -> Result<Self, Error> {
        choose::choose(outline, hardware, terms)
    }
}
