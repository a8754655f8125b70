//! The store against real S3 servers, and against servers that misbehave.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bounds;
mod browser;
mod conformance;
mod fixture;
mod folder;
mod seaweed;
mod web;
