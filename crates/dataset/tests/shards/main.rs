//! Shards: made, committed, read back, exported.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod alike;
mod exported;
mod fixture;
mod packed;
mod tidied;
mod verified;
mod written;
