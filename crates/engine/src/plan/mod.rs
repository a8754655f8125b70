//! Plans whether and how a model fits, and what it costs, from headers alone, before anything is loaded.
//!
//! [`Outline`] has what the headers say, [`Hardware`] what the machine has, [`Terms`] what is asked for. [`Plan::new`]
//! goes through the possible placements, the best first, and takes the first that fits. It knows the memory of parts by
//! their sizes, and that of samples by a trace of their operations. The same traces give the footprints by which
//! samples are admitted.
//!
#![doc = include_str!("../../COST.md")]

mod budget;
mod cards;
mod choose;
mod cost;
mod hardware;
mod joint;
mod kernels;
mod layout;
mod order;
mod outline;
mod parts;
mod picture;
mod refused;
mod speed;
mod streaming;
mod text;
mod trace;

#[cfg(test)]
mod cost_page;
#[cfg(test)]
mod tests;

pub use self::budget::{
    CONTEXT_BYTES, DeviceBudget, HOST_RESERVE_BYTES, HostBudget, LOADING_BYTES, RESERVE_BYTES, SLACK_SHARE,
    UNACCOUNTED_BYTES, WORKSPACE_BYTES,
};
pub use self::choose::Terms;
pub use self::cost::{OpCost, Seconds, StepCost};
pub use self::hardware::{Backend, Hardware};
pub use self::joint::JointStep;
pub use self::kernels::Kernels;
pub use self::layout::{Job, Plan};
pub use self::order::PlanOptions;
pub(crate) use self::order::no_room_for;
pub use self::outline::Outline;
pub use self::parts::PartPlan;
pub use self::picture::Picture;
pub use self::refused::{Refused, Shortage};
pub use self::speed::Speed;
#[cfg(test)]
pub(crate) use self::streaming::Streaming;
pub use self::trace::Peak;
#[cfg(test)]
pub(crate) use self::trace::Trace;
pub(crate) use self::trace::Tracer;
use crate::Error;
pub use crate::placement::{Blocks, Keep, Place, Placement, T5Place};

impl Plan {
    /// The best plan that fits. Opens and loads nothing.
    ///
    /// # Errors
    /// [`Error::Request`] for a size or setting that is not possible, [`Error::Plan`] if nothing fits.
    pub fn new(outline: &Outline, hardware: &Hardware, terms: &Terms) -> Result<Self, Error> {
        choose::choose(outline, hardware, terms)
    }
}
