//! The workshop: takes a lease, fetches its references, steps its sample on the device, hands in the
//! picture.
//!
//! Read first: `drive.rs`, one job from lease to completion. `run.rs` is the loop around it,
//! `device.rs` the one thread that owns the model, `checkpoints.rs` where half-drawn pictures lie
//! meanwhile, `verdict.rs` what each failure means for the job.

mod checkpoints;
mod device;
mod drive;
mod error;
mod metrics;
mod outputs;
pub mod parameters;
mod presence;
mod references;
mod run;
mod verdict;

pub use device::{DeviceThread, Drawing, Drawn, HalfDrawn, Order, Outcome};
pub use error::Error;
pub use metrics::Metrics;
pub use run::Worker;
