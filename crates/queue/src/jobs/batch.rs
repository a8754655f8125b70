//! Many jobs that are watched and controlled as one.

use redis::Value;
use schemars::JsonSchema;
use serde::Serialize;

use super::submit::add_jobs;
use crate::answers::Fields;
use crate::codec::json;
use crate::limits::SWEEP;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{BatchId, Error, JobId, JobSpec, MAX_KEY, Queue, Rejection, Submission};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
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

impl BatchCounts {
    fn read(mut counts: Fields) -> Result<Self, Error> {
        Ok(Self {
            total: counts.take("total")?,
            queued: counts.take("queued")?,
            running: counts.take("running")?,
            succeeded: counts.take("succeeded")?,
            failed: counts.take("failed")?,
            canceled: counts.take("canceled")?,
            expired: counts.take("expired")?,
        })
    }
}

/// Everything others see of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BatchView {
    /// The batch.
    pub id: BatchId,
    /// Whose batch it is.
    pub tenant: String,
    /// When its first job was accepted, in milliseconds since the epoch, by Redis' clock.
    pub created_ms: u64,
    /// Its jobs by state.
    pub counts: BatchCounts,
    /// Whether none of its jobs is claimed for now.
    pub paused: bool,
    /// Whether it was canceled.
    pub canceled: bool,
    /// Until when this record is kept, once all its jobs have ended, in milliseconds since the epoch.
    pub expires_ms: Option<u64>,
    /// The submitter's own, returned as it came.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub metadata: serde_json::Value,
}

/// A batch to be accepted as a whole.
#[derive(Debug, Clone, Copy)]
pub struct NewBatch<'a> {
    /// Its jobs: 1 to [`MAX_JOBS`](crate::MAX_JOBS).
    pub jobs: &'a [JobSpec],
    /// The submitter's own; null for nothing.
    pub metadata: &'a serde_json::Value,
    /// Whoever submits the same key and request again within a day gets the same batch.
    pub key: Option<&'a str>,
    /// Digest of the request: a repeat under the key must have the same.
    pub digest: &'a str,
}

/// What became of a batch's submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSubmitted {
    /// The batch.
    pub id: BatchId,
    /// Its jobs, in the order of submission.
    pub jobs: Vec<JobId>,
    /// Whether this call made it.
    pub fresh: bool,
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

    /// Accepts a batch with all its jobs, or nothing of it.
    ///
    /// # Errors
    /// As [`Queue::submit_all`], and [`Rejection::BatchKeyReused`].
    pub async fn submit_batch(&self, tenant: &str, new: &NewBatch<'_>) -> Result<BatchSubmitted, Error> {
        let batch = self.new_batch(tenant)?;
        if new.key.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY) {
            return Err(Rejection::Key.into());
        }
        let metadata = if new.metadata.is_null() { String::new() } else { new.metadata.to_string() };
        let mut command = self.function(batch.shard(), "submit_batch");
        command.arg(batch.bytes()).arg(new.key.unwrap_or_default()).arg(new.digest).arg(metadata);
        let of_batch = |spec| Submission { batch: Some(batch), ..Submission::from(spec) };
        let jobs: Vec<Submission<'_>> = new.jobs.iter().map(of_batch).collect();
        let jobs = add_jobs(&mut command, batch.shard(), tenant, &jobs)?;
        let mut reply = Reply::list(self.0.connection.accept(&command).await?)?;
        let word: String = reply.next()?;
        match word.as_str() {
            "accepted" => Ok(BatchSubmitted { id: batch, jobs, fresh: true }),
            "repeated" => {
                let id = BatchId::read(batch.shard(), &reply.next::<Vec<u8>>()?)?;
                let jobs = self.members(&id, jobs.len()).await?;
                Ok(BatchSubmitted { id, jobs, fresh: false })
            }
            _ => Err(Rejection::read(batch.shard(), &word, reply)?.into()),
        }
    }

    /// The first `most` jobs of a batch, in the order of submission.
    pub(crate) async fn members(&self, batch: &BatchId, most: usize) -> Result<Vec<JobId>, Error> {
        let key = [self.key(batch.shard(), "members:").as_bytes(), batch.bytes()].concat();
        let mut range = redis::cmd("LRANGE");
        range.arg(key).arg(0).arg(most as u64 - 1);
        let ids: Vec<Vec<u8>> = self.0.connection.call(&range).await?;
        ids.iter().map(|id| Ok(JobId::read(batch.shard(), id)?)).collect()
    }

    /// What is known of a batch, or none if there is no such batch.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn batch(&self, id: &BatchId) -> Result<Option<BatchView>, Error> {
        let value: Value = self.0.connection.call(self.function(id.shard(), "batch").arg(id.bytes())).await?;
        let Some(reply) = Reply::of(value)? else { return Ok(None) };
        let mut batch = Fields::of("batch", reply)?;
        let metadata: Option<String> = batch.take("metadata")?;
        Ok(Some(BatchView {
            id: *id,
            tenant: batch.take("tenant")?,
            created_ms: batch.take("created")?,
            counts: BatchCounts::read(Fields::read("batch_counts", batch.take("counts")?)?)?,
            paused: batch.take("paused")?,
            canceled: batch.take("stopped")?,
            expires_ms: batch.take("expires")?,
            metadata: metadata.as_deref().map(json).transpose()?.unwrap_or_default(),
        }))
    }

    /// Does something to all jobs of a batch, whatever their number, and returns when it is done: in
    /// many short calls, so that Redis is never busy for long. If this process dies in between, the
    /// reaper goes on. Gives whether there is such a batch.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it is safe to ask again.
    pub async fn control_batch(&self, id: &BatchId, operation: BatchOperation) -> Result<bool, Error> {
        let mut command = self.function(id.shard(), "steer");
        command.arg(id.bytes()).arg(operation.as_str());
        let found: bool = self.0.connection.accept(&command).await?;
        while found && self.sweep(id.shard()).await? {}
        Ok(found)
    }

    /// Makes the jobs of a batch anew that have failed with this code, see [`Failure::code`](crate::Failure::code). Of a
    /// data set they are looked for in its segments first, which takes a while after this has returned. Gives whether there
    /// is such a batch.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it is safe to ask again.
    pub async fn retry_failed_with(&self, id: &BatchId, code: &str) -> Result<bool, Error> {
        let mut command = self.function(id.shard(), "retry_reason");
        command.arg(id.bytes()).arg(code);
        let found: bool = self.0.connection.accept(&command).await?;
        while found && self.sweep(id.shard()).await? {}
        Ok(found)
    }

    /// Does the next part of what is being done to a shard's batches; gives whether more is left.
    pub(crate) async fn sweep(&self, shard: u16) -> Result<bool, Error> {
        let mut command = self.function(shard, "sweep");
        command.arg(self.0.config.retention_ms());
        for _ in 0..SWEEP {
            command.arg(JobId::new(shard).bytes());
        }
        let left: u64 = self.0.connection.call(&command).await?;
        Ok(left > 0)
    }
}
