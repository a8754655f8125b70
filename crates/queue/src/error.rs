//! What can go wrong.

use crate::{JobId, NotAnId, Rejection};

/// Everything that can go wrong between this process and the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Redis could not be reached, or did not answer in time.
    #[error("redis is unreachable: {0}")]
    Unreachable(String),
    /// Redis answered with an error.
    #[error("redis refused: {0}")]
    Refused(redis::RedisError),
    /// Redis is there, but takes nothing until somebody has seen to it: its disk is full, say, or a script holds it up.
    #[error("redis takes nothing now: {0}")]
    Blocked(String),
    /// Redis does not know this process' user, or does not let it do this.
    #[error("redis denies access: {0}")]
    Denied(String),
    /// Redis has no memory left for new work.
    #[error("the queue is out of memory for new jobs")]
    Full,
    /// The queue does not take the work: a limit, or a contradiction in the call.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Another process holds the job now, or the job has ended: nothing of this attempt counts.
    #[error("lost the lease on job {id}, fence {fence}")]
    LostLease {
        /// The job.
        id: JobId,
        /// The fence of the lost lease.
        fence: u64,
    },
    /// What Redis holds cannot be understood.
    #[error("unreadable answer from the queue: {0}")]
    Unreadable(String),
    /// The Redis server must not be used as it is configured.
    #[error("unsafe redis: {0}")]
    Unsafe(String),
    /// The settings cannot be used.
    #[error("redis settings: {0}")]
    Settings(String),
    /// The queue's data is split into another number of shards: tenants would be sought in the wrong ones.
    #[error("the queue has {found} shard(s), and {asked} were asked for: set the number it has")]
    WrongShards {
        /// The number found.
        found: u16,
        /// The number in the settings.
        asked: u16,
    },
    /// The work was taken, but too few replicas have it yet to promise that it survives.
    #[error("{confirmed} of {wanted} replicas confirmed the work in time; ask again with the same key")]
    NotDurable {
        /// Replicas that have it.
        confirmed: u32,
        /// Replicas that must.
        wanted: u32,
    },
    /// Redis has none of the queue's data any more.
    #[error(
        "redis is empty: what was accepted before is gone; bring its data back from a replica or a backup, or submit again"
    )]
    Emptied,
    /// The data belongs to a newer version of the fleet.
    #[error("the queue has layout {found}, this version knows up to {known}: upgrade this process")]
    NewerLayout {
        /// The layout found.
        found: u32,
        /// The newest layout this version knows.
        known: u32,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Blocked(_) | Self::Denied(_) | Self::Full => true,
            Self::NotDurable { .. } => true,
            Self::Rejected(rejection) => {
                matches!(rejection, Rejection::TooFast { .. } | Rejection::TooManyQueued { .. })
            }
            Self::Refused(error) => !matches!(error.retry_method(), redis::RetryMethod::NoRetry),
            _ => false,
        }
    }
}

/// An id that the queue holds and that is none.
impl From<NotAnId> for Error {
    fn from(error: NotAnId) -> Self {
        Self::Unreadable(error.to_string())
    }
}
