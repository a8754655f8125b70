//! The workshop: takes leases, fetches references, steps samples on the device, hands in pictures.
//!
//! Read first: `drive.rs`, one job from lease to settlement, and `attempt.rs`, how its picture comes about.
//! `run.rs` is the loop around them, `claims.rs` how much it claims, `drain.rs` how it stops. `device.rs` is
//! the one thread that owns the model: `device/policy.rs` decides which sample steps next,
//! `device/table.rs` has it done. `checkpoints.rs` is where half-drawn pictures lie meanwhile, `verdict.rs`
//! what each failure means for the job; `transfers.rs` and `store_watch.rs` how a store that refuses everything is
//! waited for.

mod attempt;
mod checkpoints;
mod claims;
mod condition;
mod decoding;
mod device;
mod drain;
mod drive;
mod ears;
mod error;
mod held;
mod loras;
mod metrics;
mod outputs;
pub mod parameters;
mod presence;
mod references;
mod report;
mod run;
mod seen;
mod store_watch;
mod tokens;
mod transfers;
mod verdict;
mod workshop;

pub use condition::Condition;
pub use device::{
    About, Activity, Clock, DeviceThread, Drawing, Drawn, Effort, HalfDrawn, Order, Outcome, Patience, Place,
    Progress, Rank, Sharing, Standing, Wishes,
};
pub use error::Error;
pub use metrics::Metrics;
pub use presence::Loading;
pub use run::Worker;
pub use workshop::Settings;
