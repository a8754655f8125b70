//! The API over a real Redis and a real S3 server; the tests play the worker.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod estimate;
mod events;
mod fixture;
mod health;
mod jobs;
mod refusals;
mod steer;
mod uploads;
mod workers;
