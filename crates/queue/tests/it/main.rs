//! The queue on a real Redis, started by each test.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod access;
mod batches;
mod browse;
mod cluster;
mod costs;
mod dataset_passes;
mod datasets;
mod durability;
mod endings;
mod fairness;
mod fixture;
mod functions;
mod leases;
mod life;
#[path = "../../../../tests/it/link.rs"]
mod link;
mod list;
mod loras;
mod order;
mod place;
mod refusals;
mod repeats;
mod replicas;
mod rules;
mod sentinel;
mod server;
mod silence;
mod simulation;
mod spec;
mod stored;
mod submit;
mod texts;
mod tls;
mod volume;
mod wanted;
mod watch;
mod webhooks;
mod window;
