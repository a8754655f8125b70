//! A Redis and an S3 service of one's own, for one machine and for tests.
//!
//! [`DataFolder::take`] makes a folder this process's own, and [`Services::start`] starts in it what you do not
//! have already: a [`PrivateRedis`], which [`Services::supervise`] starts again when it ends, and a
//! [`FolderServer`], which serves a folder over the S3 protocol. Tests start the two by themselves. Nothing here knows
//! the queue or the store: callers get addresses, a password inside the Redis URL, and [`S3Keys`].

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
