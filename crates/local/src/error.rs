//! What can go wrong.

use std::fs::TryLockError;
use std::io;
use std::path::PathBuf;

/// Why a service of one's own cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data folder cannot be made or opened.
    #[error("cannot use the data folder {}", path.display())]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has the data folder.
    #[error("another `uso up` uses {}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// What the lock said.
        source: TryLockError,
    },
    /// A file of the data folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the data folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the data folder holds something else than what was written.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The private Redis cannot be started, stopped or watched.
    #[error("private redis: {0}")]
    PrivateRedis(String),
    /// The private Redis has ended too often to be started once more.
    #[error("the private redis ended {ends} times in a row: {why}")]
    KeepsEnding {
        /// How often it has ended.
        ends: u32,
        /// Why it ended the last time.
        why: String,
    },
    /// The folder to serve over S3 cannot be used.
    #[error("cannot serve {} as an object store", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The port of the S3 service cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address and port asked for.
        address: String,
        /// Why not.
        source: io::Error,
    },
}
