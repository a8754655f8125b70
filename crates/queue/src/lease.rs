//! The right to work on a job, for as long as it is renewed.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::job::Record;
use crate::{Class, Error, Failure, JobId, JobSpec, Output, Queue};

/// One attempt at one job. Whoever holds it may report, renew and settle; once lost, none of these
/// has any effect.
#[must_use = "a lease that is dropped keeps its job from others until it runs out"]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// Rises with every claim of the shard.
    pub fence: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What to do.
    pub spec: JobSpec,
    /// Whose job it is.
    pub tenant: String,
    /// When the job was accepted, in milliseconds since 1970, by Redis' clock.
    pub submitted_ms: u64,
    /// When this attempt began, by the same clock.
    pub claimed_ms: u64,
    hold: Hold,
}

/// What proves that a caller holds the lease.
#[derive(Clone)]
struct Hold {
    queue: Queue,
    id: String,
    fence: u64,
    token: String,
}

impl Lease {
    /// A lease from a claimed record; a spec that this version cannot read fails the job at once.
    pub(crate) async fn new(queue: Queue, record: Record, token: String) -> Result<Option<Self>, Error> {
        let hold = Hold { queue, id: record.id.to_string(), fence: record.fence, token };
        match serde_json::from_str(&record.spec) {
            Ok(spec) => Ok(Some(Self {
                claimed_ms: record.claimed_ms.unwrap_or(record.submitted_ms),
                submitted_ms: record.submitted_ms,
                id: record.id,
                fence: record.fence,
                attempt: record.attempt,
                tenant: record.tenant,
                spec,
                hold,
            })),
            Err(error) => {
                let message = format!("the job's parameters cannot be read: {error}");
                let failure = Failure { code: "unreadable_spec".into(), message, retryable: false };
                hold.fail(&failure).await?;
                Ok(None)
            }
        }
    }

    /// How urgent the job is.
    pub fn class(&self) -> Class {
        self.spec.class
    }

    /// Starts renewing the lease, off the caller's thread.
    pub fn keep(&self) -> Keeper {
        Keeper::start(self.hold.clone())
    }

    /// Reports a step.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: a report may be skipped.
    pub async fn progress(&self, step: u32, of: u32) -> Result<(), Error> {
        self.hold.call(self.hold.function("progress").arg(step).arg(of)).await
    }

    /// Ends the job with a picture. Repeating it after a lost answer gives the same answer.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: then ask again.
    pub async fn complete(&self, output: &Output) -> Result<(), Error> {
        let output = serde_json::to_string(output).map_err(|error| Error::Unreadable(error.to_string()))?;
        self.hold.call(self.hold.function("complete").arg(self.hold.retention_ms()).arg(output)).await
    }

    /// Ends the attempt without a picture: the job waits again if the failure is retryable and
    /// attempts are left, else it has failed. Repeating it gives the same answer.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: then ask again.
    pub async fn fail(&self, failure: &Failure) -> Result<(), Error> {
        self.hold.fail(failure).await
    }

    /// Hands the job back as if it had not been claimed: no attempt is spent.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: then ask again.
    pub async fn release(&self) -> Result<(), Error> {
        self.hold.call(&self.hold.function("release")).await
    }
}

impl Hold {
    fn function(&self, name: &str) -> redis::Cmd {
        let mut command = self.queue.function(name);
        command.arg(&self.id).arg(self.fence).arg(&self.token);
        command
    }

    fn retention_ms(&self) -> u64 {
        self.queue.0.config.retention.as_millis() as u64
    }

    async fn call(&self, command: &redis::Cmd) -> Result<(), Error> {
        let held: bool = self.queue.0.connection.call(command).await?;
        if held { Ok(()) } else { Err(Error::LostLease { id: self.id.clone(), fence: self.fence }) }
    }

    async fn fail(&self, failure: &Failure) -> Result<(), Error> {
        let text = serde_json::to_string(failure).map_err(|error| Error::Unreadable(error.to_string()))?;
        let mut command = self.function("fail");
        command.arg(self.retention_ms()).arg(text).arg(u8::from(failure.retryable));
        command.arg(self.queue.0.config.attempts);
        self.call(&command).await
    }

    async fn renew(&self) -> Result<(), Error> {
        let lease_ms = self.queue.0.config.lease.as_millis() as u64;
        self.call(self.function("renew").arg(lease_ms)).await
    }
}

/// Renews a lease until it is stopped or the lease is lost.
pub struct Keeper {
    lost: CancellationToken,
    /// Dropping it ends the task, so that a forgotten keeper keeps nothing alive.
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Keeper {
    fn start(hold: Hold) -> Self {
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(renew_until(hold, lost.clone(), stop.clone()));
        Self { lost, stop: stop.drop_guard(), task }
    }

    /// Tripped once another process holds the job, or it has ended.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Ends the renewal and waits for its task.
    pub async fn stop(self) {
        drop(self.stop);
        // The task only fails by a panic, which has been reported where it happened.
        let _ = self.task.await;
    }
}

async fn renew_until(hold: Hold, lost: CancellationToken, stop: CancellationToken) {
    let every: Duration = hold.queue.0.config.renew;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match hold.renew().await {
            Ok(()) => {}
            Err(Error::LostLease { .. }) => {
                tracing::warn!(job.id = hold.id, fence = hold.fence, "lost the lease");
                lost.cancel();
                return;
            }
            // While Redis is away nobody else can claim the job either: go on, and ask again.
            Err(error) => tracing::warn!(job.id = hold.id, fence = hold.fence, %error, "could not renew"),
        }
    }
}
