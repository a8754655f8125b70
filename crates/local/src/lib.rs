#![doc = include_str!("../README.md")]

mod data_folder;
mod error;
mod folder;
mod keys;
mod private;
mod private_redis;
mod services;

pub use data_folder::DataFolder;
pub use error::Error;
pub use folder::{FolderConfig, FolderServer};
pub use keys::S3Keys;
pub use private_redis::PrivateRedis;
pub use services::{Services, Wanted};
