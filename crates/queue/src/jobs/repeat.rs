//! Repeats under an idempotency key: known before anything else is checked, so that they get the same answer
//! although limits, defaults or uploads have changed since.

use redis::Value;

use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{BatchId, BatchSubmitted, Error, JobId, JobSpec, Queue, Rejection};

/// The job that was accepted under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierJob {
    /// The job.
    pub id: JobId,
    spec: Vec<u8>,
    /// None if the submission had none.
    request: Option<Vec<u8>>,
}

impl EarlierJob {
    /// Whether a request is the one that made the job: by its SHA-256, or because it means the same now, which
    /// `spec` tells if it can be read.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the spec cannot be written as JSON.
    pub fn is_of(&self, request: &[u8; 32], spec: impl FnOnce() -> Option<JobSpec>) -> Result<bool, Error> {
        if self.request.as_deref() == Some(request) {
            return Ok(true);
        }
        let digest = spec().map(|spec| spec.digest()).transpose()?;
        Ok(digest.is_some_and(|digest| self.spec == digest))
    }
}

impl Queue {
    /// The job that was accepted under a tenant's idempotency key within a day. It is as safe as a submission:
    /// whoever gets it can rely on it.
    ///
    /// # Errors
    /// As [`Queue::submit`].
    pub async fn earlier_job(&self, tenant: &str, key: &str) -> Result<Option<EarlierJob>, Error> {
        let Some(mut reply) = self.accepted_as("key", tenant, key).await? else { return Ok(None) };
        let id = JobId::read(self.shard_of(tenant), &reply.next::<Vec<u8>>()?)?;
        Ok(Some(EarlierJob { id, spec: reply.next()?, request: reply.next()? }))
    }

    /// The batch that was accepted under a tenant's idempotency key within a day, with its first `jobs` jobs.
    ///
    /// # Errors
    /// As [`Queue::submit_batch`]: [`Rejection::BatchKeyReused`] if it was made from a request with another digest.
    pub async fn earlier_batch(
        &self,
        tenant: &str,
        key: &str,
        digest: &str,
        jobs: usize,
    ) -> Result<Option<BatchSubmitted>, Error> {
        let Some(mut reply) = self.accepted_as("batch_key", tenant, key).await? else { return Ok(None) };
        let id = BatchId::read(self.shard_of(tenant), &reply.next::<Vec<u8>>()?)?;
        if reply.next::<Vec<u8>>()? != digest.as_bytes() {
            return Err(Rejection::BatchKeyReused { earlier: id }.into());
        }
        Ok(Some(BatchSubmitted { id, jobs: self.members(&id, jobs.max(1)).await?, fresh: false }))
    }

    async fn accepted_as(&self, kind: &str, tenant: &str, key: &str) -> Result<Option<Reply>, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "accepted_as");
        let value: Value = self.0.connection.accept(command.arg(kind).arg(tenant).arg(key)).await?;
        Reply::of(value)
    }
}
