//! What can go wrong between a manifest and a committed shard.

/// What can go wrong between a manifest and a committed shard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object store refused, or gave what was not expected.
    #[error(transparent)]
    Store(#[from] uso_store::Error),
    /// The queue refused, or could not be reached.
    #[error(transparent)]
    Queue(#[from] uso_queue::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// An object that the fleet wrote itself is not what it wrote.
    #[error("{object} cannot be read: {reason}")]
    Unreadable {
        /// Its key, or the path of a file.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture is not the one that was made: its size or its SHA-256 differs.
    #[error("{object} is damaged: its sha256 is not the recorded one")]
    Damaged {
        /// Its key, or its name in a shard.
        object: String,
    },
    /// Another object is where this one was to be.
    #[error("there is another {object} already")]
    Taken {
        /// Its key.
        object: String,
    },
    /// A blocking task ended early.
    #[error("a task ended early: {0}")]
    Task(String),
}
