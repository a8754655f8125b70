//! The queue on a real Redis, started by each test.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod durability;
mod fixture;
mod functions;
mod leases;
mod life;
mod order;
mod spec;
