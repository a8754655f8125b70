#![doc = include_str!("../README.md")]

mod active;
mod cache_owners;
mod claim;
mod condition;
mod context;
mod datasets;
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
mod scoring;
mod stages;
mod step_paces;
mod store_watch;
mod tokens;
mod transfers;
mod verdict;
mod worker;

pub use condition::Condition;
pub use context::Settings;
pub use datasets::work_on_datasets;
pub use device::{
    Activity, Clock, DeviceStatus, DeviceThread, EngineInfo, FinishedSample, PartialSample, Patience, Phase,
    Progress, Rank, RunningSample, SampleRequest, Sharing, Unfinished, Usage, Wanted,
};
pub use error::Error;
pub use heartbeat::Loading;
pub use metrics::Metrics;
pub use scoring::Scoring;
pub use worker::Worker;
