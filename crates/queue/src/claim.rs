//! Work out of the queue, and work of lost workers back into it.

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::job::Record;
use crate::{Class, Error, Lease, Queue};

/// How long a process stays the one that reaps without saying so again.
const REAPER_TERM: Duration = Duration::from_secs(5);

/// How often a process looks for lost leases.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// A process that takes part in the queue: one consumer of every stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerId(String);

impl WorkerId {
    /// A name of its own for this process.
    pub fn new() -> Self {
        Self(format!("w-{}", Uuid::new_v4().simple()))
    }
}

impl Default for WorkerId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one round of reaping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Jobs of lost workers that wait again.
    pub requeued: u64,
    /// Jobs of lost workers whose attempts are spent.
    pub failed: u64,
    /// Entries that could not be understood and were set aside.
    pub buried: u64,
}

impl Queue {
    /// Takes the best waiting job of the first of `classes` that has one. Never waits.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; a job may then have been claimed all the same, and comes back when its
    /// lease runs out.
    pub async fn claim(&self, worker: &WorkerId, classes: &[Class]) -> Result<Option<Lease>, Error> {
        let token = Uuid::new_v4().simple().to_string();
        let mut command = self.function("claim");
        command.arg(worker.to_string()).arg(&token).arg(self.0.config.lease.as_millis() as u64);
        for class in classes {
            command.arg(class.as_str());
        }
        let record: Option<String> = self.0.connection.call(&command).await?;
        let Some(record) = record else { return Ok(None) };
        let record: Record = serde_json::from_str(&record)
            .map_err(|error| Error::Unreadable(format!("a claimed job: {error}")))?;
        Lease::new(self.clone(), record, token).await
    }

    /// Gives jobs of lost workers back to the queue. Every process may call this about once a second;
    /// only one at a time does the work.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn reap(&self, process: &WorkerId) -> Result<Reaped, Error> {
        let config = &self.0.config;
        let mut command = self.function("reap");
        command.arg(process.to_string()).arg(REAPER_TERM.as_millis() as u64);
        command.arg(config.lease.as_millis() as u64).arg(config.attempts);
        command.arg(config.retention.as_millis() as u64);
        let counts: Option<[u64; 3]> = self.0.connection.call(&command).await?;
        let [requeued, failed, buried] = counts.unwrap_or_default();
        if requeued + failed + buried > 0 {
            tracing::warn!(requeued, failed, buried, "reaped leases: {requeued} requeued, {failed} failed");
        }
        Ok(Reaped { requeued, failed, buried })
    }

    /// Reaps about once a second until `stop`; what every process of the fleet should do.
    pub async fn reap_until(&self, process: &WorkerId, stop: CancellationToken) {
        loop {
            if let Err(error) = self.reap(process).await {
                tracing::warn!(%error, "could not reap lost leases");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REAP_EVERY) => {}
            }
        }
    }
}
