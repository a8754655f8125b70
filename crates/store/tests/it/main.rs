//! The store against real S3 servers, and against servers that misbehave.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bounds;
mod conformance;
mod fixture;
mod large;
mod seaweed;
mod sweep;
mod web;
