//! What time alone brings about: lost leases, due retries, missed deadlines, half-done sweeps.

use std::time::Duration;

use redis::Value;
use tokio_util::sync::CancellationToken;

use crate::reply::Reply;
use crate::{Error, Queue, WorkerId};

/// How long a process stays the one that reaps without saying so again.
const REAPER_TERM: Duration = Duration::from_secs(5);

/// How often a process reaps.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// Rounds between two checks of the server itself.
const INSPECT_EVERY: u64 = 60;

/// What one round of reaping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Jobs of lost workers that wait again.
    pub requeued: u64,
    /// Jobs of lost workers that have failed.
    pub failed: u64,
    /// Entries that could not be understood and were set aside.
    pub buried: u64,
}

impl Queue {
    /// Gives jobs of lost workers back to the queue, ends what has missed its deadline, puts what is
    /// due into the backlog, works out when bulk work may start next, and goes on with what is being done
    /// to batches. Every process may call this about once a second; only one at a time does the work.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if a shard did not answer; the others have been reaped all the same.
    pub async fn reap(&self, process: &WorkerId) -> Result<Reaped, Error> {
        let (mut sum, mut fault) = (Reaped::default(), None);
        for shard in self.shards() {
            if let Err(error) = self.reap_shard(shard, process, &mut sum).await {
                fault = Some(error);
            }
        }
        if sum != Reaped::default() {
            let Reaped { requeued, failed, buried } = sum;
            tracing::warn!(requeued, failed, buried, "reaped leases: {requeued} requeued, {failed} failed");
        }
        fault.map_or(Ok(sum), Err)
    }

    async fn reap_shard(&self, shard: u16, process: &WorkerId, sum: &mut Reaped) -> Result<(), Error> {
        while self.reap_once(shard, process, sum).await? {
            self.sweep(shard).await?;
        }
        Ok(())
    }

    /// Whether there is more to do at once.
    async fn reap_once(&self, shard: u16, process: &WorkerId, sum: &mut Reaped) -> Result<bool, Error> {
        let config = &self.0.config;
        let mut command = self.function(shard, "reap");
        command.arg(process.as_str()).arg(REAPER_TERM.as_millis() as u64);
        command.arg(config.lease.as_millis() as u64).arg(config.attempts).arg(config.retention_ms());
        let value: Value = self.0.connection.call(&command).await?;
        let Some(mut reply) = Reply::of(value)? else { return Ok(false) };
        sum.requeued += reply.next::<u64>()?;
        sum.failed += reply.next::<u64>()?;
        sum.buried += reply.next::<u64>()?;
        let again = reply.next()?;
        if let Some(window) = reply.rest().next() {
            let mut window = Reply::list(window)?;
            self.renew_window(shard, window.next()?, &window.next::<String>()?).await?;
        }
        Ok(again)
    }

    /// Reaps about once a second until `stop`, and checks the server every minute; what every process of the fleet
    /// should do.
    pub async fn reap_until(&self, process: &WorkerId, stop: CancellationToken) {
        for round in 1u64.. {
            if round.is_multiple_of(INSPECT_EVERY)
                && let Err(error) = self.inspect().await
            {
                tracing::error!(%error, "{error}");
            }
            if let Err(error) = self.reap(process).await {
                tracing::warn!(%error, "could not reap");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REAP_EVERY) => {}
            }
        }
    }
}
