//! The worker: takes leases, fetches references, steps samples on the device, hands in pictures.
//!
//! Read first: `drive.rs`, the journey of one job (`job.rs`); each of its stages is a module in `stages/`. `worker.rs` is the loop
//! around it, `claim.rs` how many jobs it claims, `drain.rs` how it stops, `hand_back.rs` why a job goes back. `device.rs`
//! is the one thread that owns the model: `device/policy.rs` decides which sample steps next, `device/sampler.rs` has it
//! done. `verdict.rs` says what each failure means for the job; `transfers.rs` and `store_watch.rs` wait for a store that
//! refuses everything.

mod active;
mod cache_owners;
mod claim;
mod condition;
mod context;
mod device;
mod drain;
mod drive;
mod error;
mod hand_back;
mod heartbeat;
mod job;
mod listener;
mod loras;
mod metrics;
pub mod parameters;
mod stages;
mod store_watch;
mod tokens;
mod transfers;
mod verdict;
mod worker;

pub use condition::Condition;
pub use context::Settings;
pub use device::{
    Activity, Clock, DeviceStatus, DeviceThread, EngineInfo, FinishedSample, PartialSample, Patience, Phase,
    Progress, Rank, RunningSample, SampleRequest, Sharing, Unfinished, Usage, Wanted,
};
pub use error::Error;
pub use heartbeat::Loading;
pub use metrics::Metrics;
pub use worker::Worker;
