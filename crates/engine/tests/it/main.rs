//! The engine against tensors recorded from the PyTorch reference.

mod golden;
mod image;
mod mini;
mod model_folder;
mod noise;
mod parity;
mod preprocess;
mod schedule;
mod tokens;
