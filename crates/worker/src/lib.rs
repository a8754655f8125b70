#![doc = include_str!("../README.md")]

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
