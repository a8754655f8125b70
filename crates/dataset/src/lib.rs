#![doc = include_str!("../README.md")]

mod error;
pub mod file;
pub mod layout;
mod outcome;
pub mod rows;
pub mod run;
mod settings;
pub mod shards;

pub use error::Error;
pub use outcome::Outcome;
pub use settings::{Settings, Split};
