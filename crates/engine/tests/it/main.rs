//! The engine against tensors recorded from the PyTorch reference.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod autoencoder;
mod engines;
mod features;
mod footprint;
mod golden;
mod image;
mod mini;
mod model_folder;
mod noise;
mod parity;
mod preprocess;
mod preview;
mod schedule;
mod scripted;
mod self_test;
mod tokens;
