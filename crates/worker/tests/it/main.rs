//! A worker with the bundled model, a real Redis and a real S3 server.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod files;
mod fixture;
mod gate;
mod hand_back;
mod heartbeat;
mod life;
mod loras;
mod memory;
mod panics;
mod patient;
mod previews;
mod references;
mod scheduler;
mod step_cache;
mod store;
#[expect(dead_code, reason = "the tests of the fleet share it, and hold requests too")]
#[path = "../../../../tests/it/store_proxy.rs"]
mod store_proxy;
mod stuck;
mod together;
