//! The API over a real Redis and a real S3 server; the tests play the worker.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod access;
mod batches;
mod connections;
mod control;
mod cors;
mod dataset_changes;
mod dataset_hostile;
mod dataset_rows;
mod dataset_runs;
mod datasets;
mod estimate;
mod events;
mod fixture;
mod fleet;
mod gate;
mod health;
mod idempotency;
mod jobs;
mod limits;
mod list;
mod loras;
mod manifests;
mod openapi;
mod page;
mod predictions;
mod refusals;
mod remove;
mod session;
mod step_cache;
mod stored;
mod tenants;
mod uploads;
mod wait;
mod webhooks;
mod workers;
