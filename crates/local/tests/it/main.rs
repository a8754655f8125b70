//! The private Redis and the S3 folder, as their clients see them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod browser;
mod fixture;
mod folder;
mod private_redis;
mod services;
