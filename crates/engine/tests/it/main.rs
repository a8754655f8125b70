//! The engine against tensors recorded from the PyTorch reference.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod autoencoder;
mod engines;
mod features;
mod footprint;
mod formats;
mod golden;
mod hostile;
mod image;
mod kernels;
mod listings;
mod loras;
mod matrix;
mod mini;
mod model_folder;
mod noise;
mod packed;
mod parity;
mod picture_file;
mod pictures;
mod preprocess;
mod preview;
mod published;
mod reference_memory;
mod request_loras;
mod schedule;
mod scorer_files;
mod scorers;
mod scripted;
mod self_test;
mod side_branch;
mod spoilt;
mod step_cache;
mod together;
mod tokens;
mod torch_file;
mod vocabulary;
mod wide;
