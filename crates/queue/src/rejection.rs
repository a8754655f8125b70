//! Why the queue does not take work, and the limits that it then names.

use crate::{BatchId, JobId};

/// Most jobs of one call: bounds how long Redis is busy with it.
pub const MAX_JOBS: usize = 1000;

/// Longest idempotency key in bytes.
pub const MAX_KEY: usize = 255;

/// Longest name of a data set in bytes.
pub const MAX_DATASET_NAME: usize = 200;

/// Longest name of a tenant in bytes.
pub(crate) const MAX_TENANT: usize = 64;

/// Why the queue does not take work. Nothing of the call was accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A name that cannot be a tenant's.
    #[error("a tenant's name has 1 to {MAX_TENANT} letters, digits, '.', '_' or '-', and is not '.' or '..'")]
    TenantName,
    /// A name that cannot be a data set's.
    #[error("a data set's name has 1 to {MAX_DATASET_NAME} bytes")]
    DatasetName,
    /// A key that is empty or too long.
    #[error("an idempotency key has 1 to {MAX_KEY} bytes")]
    Key,
    /// No job, or more than one call takes.
    #[error("{0} jobs in one call; 1 to {MAX_JOBS} are allowed")]
    Count(usize),
    /// The key was used for a job with other parameters.
    #[error("the idempotency key of job {index} was used for other parameters, by job {earlier}")]
    KeyReused {
        /// Which of the submissions, from 0.
        index: usize,
        /// The job that has the key.
        earlier: JobId,
    },
    /// The key was used for another batch.
    #[error("the idempotency key was used for another request, by batch {earlier}")]
    BatchKeyReused {
        /// The batch that has the key.
        earlier: BatchId,
    },
    /// The tenant has stored as much as it may.
    #[error(
        "{stored} bytes of files are stored already; the limit is {limit}: delete some, or wait until they expire"
    )]
    TooMuchStored {
        /// Bytes that are stored.
        stored: u64,
        /// How many may be.
        limit: u64,
    },
    /// The tenant has as many waiting jobs as it may.
    #[error("{queued} jobs wait already; the limit is {limit}")]
    TooManyQueued {
        /// Jobs that wait.
        queued: u64,
        /// How many may.
        limit: u64,
    },
    /// The tenant submits and uploads faster than it may.
    #[error("more than {per_second} jobs and uploads per second; try again in {retry_after_ms} ms")]
    TooFast {
        /// Jobs and uploads per second that it may send.
        per_second: f64,
        /// Milliseconds until the next one is accepted.
        retry_after_ms: u64,
    },
    /// The batch is another tenant's.
    #[error("job {index} names a batch that is not there")]
    NoSuchBatch {
        /// Which of the submissions, from 0.
        index: usize,
    },
    /// A limit that would stand still or never end.
    #[error("{name} must be {least} to {most}")]
    Limit {
        /// Which one.
        name: &'static str,
        /// The smallest that is allowed.
        least: f64,
        /// The largest.
        most: f64,
    },
    /// The nightly window cannot be.
    #[error("the window: {0}")]
    Window(String),
    /// The batch was canceled.
    #[error("job {index} names a batch that was canceled")]
    BatchCanceled {
        /// Which of the submissions, from 0.
        index: usize,
    },
}
