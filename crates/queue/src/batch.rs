//! Many jobs that are looked at and steered as one.

use redis::Value;
use serde::Serialize;

use crate::reply::Reply;
use crate::submit::check_tenant;
use crate::{BatchId, Error, JobId, Queue};

/// Jobs of a batch that one call repeats.
const RETRIES: usize = 40;

/// What can be done to all jobs of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOperation {
    /// No more jobs of it are claimed; those that run go on.
    Pause,
    /// Its jobs are claimed again.
    Resume,
    /// All its jobs that have not ended are canceled, and no more are accepted.
    Cancel,
    /// Each of its failed jobs is made anew.
    RetryFailed,
}

impl BatchOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::RetryFailed => "retry",
        }
    }
}

/// How many jobs of a batch are in each state; a repeated job counts as its newest repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BatchCounts {
    /// All of them.
    pub total: u64,
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs with a lease.
    pub running: u64,
    /// Jobs that ended with a picture.
    pub succeeded: u64,
    /// Jobs that ended without one.
    pub failed: u64,
    /// Jobs that somebody ended.
    pub canceled: u64,
    /// Jobs whose time had passed.
    pub expired: u64,
}

/// Everything others see of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchView {
    /// The batch.
    pub id: BatchId,
    /// Whose batch it is.
    pub tenant: String,
    /// When its first job was accepted, in milliseconds since 1970, by Redis' clock.
    pub created_ms: u64,
    /// Its jobs by state.
    pub counts: BatchCounts,
    /// Whether none of its jobs is claimed for now.
    pub paused: bool,
    /// Whether it was canceled.
    pub canceled: bool,
}

impl Queue {
    /// A name for a batch of this tenant; the first job submitted under it makes the batch.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's.
    pub fn new_batch(&self, tenant: &str) -> Result<BatchId, Error> {
        check_tenant(tenant)?;
        Ok(BatchId::new(self.shard_of(tenant)))
    }

    /// What is known of a batch, or none if there is no such batch.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn batch(&self, id: &BatchId) -> Result<Option<BatchView>, Error> {
        let value: Value = self.0.connection.call(self.function(id.shard(), "batch").arg(id.bytes())).await?;
        let Some(mut reply) = Reply::of(value)? else { return Ok(None) };
        let (tenant, created_ms) = (reply.next()?, reply.next()?);
        let mut counts = Reply::list(reply.next()?)?;
        let counts = BatchCounts {
            total: counts.next()?,
            queued: counts.next()?,
            running: counts.next()?,
            succeeded: counts.next()?,
            failed: counts.next()?,
            canceled: counts.next()?,
            expired: counts.next()?,
        };
        let (paused, canceled) = (reply.next()?, reply.next()?);
        Ok(Some(BatchView { id: *id, tenant, created_ms, counts, paused, canceled }))
    }

    /// Does something to all jobs of a batch, whatever their number, and returns when it is done: in
    /// many short calls, so that Redis is never busy for long. If this process dies in between, the
    /// reaper goes on. Gives whether there is such a batch.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it is safe to ask again.
    pub async fn steer_batch(&self, id: &BatchId, operation: BatchOperation) -> Result<bool, Error> {
        let mut command = self.function(id.shard(), "steer");
        command.arg(id.bytes()).arg(operation.as_str());
        let found: bool = self.0.connection.accept(&command).await?;
        while found && self.sweep(id.shard()).await? {}
        Ok(found)
    }

    /// Does the next part of what is being done to a shard's batches; gives whether more is left.
    pub(crate) async fn sweep(&self, shard: u16) -> Result<bool, Error> {
        let mut command = self.function(shard, "sweep");
        command.arg(self.0.config.retention_ms());
        for _ in 0..RETRIES {
            command.arg(JobId::new(shard).bytes());
        }
        let left: u64 = self.0.connection.call(&command).await?;
        Ok(left > 0)
    }
}
