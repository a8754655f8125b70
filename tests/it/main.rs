//! The real binary, in as many processes as a fleet has, against a real Redis and a real S3 server.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chaos;
mod datasets;
mod evaluate;
mod faults;
mod fleet;
mod hub;
mod keys;
mod link;
mod model_fetch;
mod outages;
mod process;
mod queue;
mod references;
mod stalls;
#[expect(dead_code, reason = "the tests of the worker share it, and use all of it")]
mod store_proxy;
mod submit;
mod up;
mod upgrade;
mod upgraded_dataset;
