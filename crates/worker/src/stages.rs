//! The stages of a job, in the order of its journey.

mod checkpoints;
mod decode_budget;
mod fetch;
mod files;
mod progress;
mod sample;
mod score;
mod settle;
mod tries;
mod upload;

pub(crate) use checkpoints::Checkpoints;
pub(crate) use fetch::References;
pub(crate) use settle::Ended;
