//! Work out of the queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use redis::Value;
use uuid::Uuid;

use crate::reply::Reply;
use crate::{Class, Error, Lease, Queue, WorkerId};

/// Calls that one claim may need to get past jobs that ended while they waited.
const MAX_CALLS: usize = 10_000;

/// Numbers the claims of this process: one that arrives after a later one of its worker gives nothing.
static CLAIMS: AtomicU64 = AtomicU64::new(1);

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// Who asks.
    pub worker: &'a WorkerId,
    /// What may be claimed.
    pub classes: &'a [Class],
    /// Most jobs.
    pub count: usize,
    /// Whether it has other work: it then wants jobs to do beside it, and is not woken as an idle one.
    pub busy: bool,
    /// Whether it holds no job: only then it is given one at which a worker was lost, and that one alone.
    pub alone: bool,
    /// Bytes of memory that the worker has free for one job; none if any job fits.
    pub capacity: Option<u64>,
    /// Names of the LoRAs that the worker has, and [of its scorers](crate::Scorer::claim_name); jobs that ask for others
    /// are left to others.
    pub loras: &'a [String],
    /// Tenants whose jobs are left to others or to later.
    pub without: &'a [String],
}

impl<'a> Claim<'a> {
    /// One job of any class, whatever its size.
    pub fn one(worker: &'a WorkerId) -> Self {
        Self {
            worker,
            classes: &Class::ALL,
            count: 1,
            busy: false,
            alone: true,
            capacity: None,
            loras: &[],
            without: &[],
        }
    }
}

impl Queue {
    /// Takes the best waiting jobs. Never waits for work. Interactive jobs go before bulk ones, but
    /// while bulk work waits it gets at least one claim in [`crate::Config::bulk_every`].
    ///
    /// # Errors
    /// [`Error::Unreachable`] if nothing was claimed and a shard did not answer, twice; a job of it may have been
    /// claimed all the same, and comes back when its lease runs out.
    pub async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Lease>, Error> {
        if let [_] = self.0.roots.as_slice() {
            return self.claim_from(0, claim, claim.classes, claim.count, claim.busy, claim.alone).await;
        }
        // Within a shard its own function keeps the order; across shards this loop does.
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let mut classes = claim.classes.to_vec();
        classes.sort_by_key(|class| *class == Class::Bulk);
        if turn.is_multiple_of(self.0.config.bulk_every.max(1) as usize) {
            classes.reverse();
        }
        let (mut leases, mut fault) = (Vec::new(), None);
        for class in classes {
            for i in 0..self.0.roots.len() {
                let shard = (turn + i) % self.0.roots.len();
                let left = claim.count.saturating_sub(leases.len());
                let alone = claim.alone && leases.is_empty();
                if left > 0 && !leases.iter().any(|lease: &Lease| lease.alone) {
                    match self.claim_from(shard as u16, claim, &[class], left, true, alone).await {
                        Ok(claimed) => leases.extend(claimed),
                        // The others may be in reach, and what was claimed must not be lost.
                        Err(error) => fault = Some(error),
                    }
                }
            }
        }
        if !claim.busy {
            self.mark_idle(claim.worker, leases.is_empty()).await;
        }
        match fault {
            Some(error) if leases.is_empty() => Err(error),
            _ => Ok(leases),
        }
    }

    /// Tells all shards whether a worker has nothing to do. Where that fails, wake-ups take longer.
    async fn mark_idle(&self, worker: &WorkerId, idle: bool) {
        for shard in self.shards() {
            let mut mark = self.function(shard, "idle");
            mark.arg(worker.as_str()).arg(u8::from(idle));
            if let Err(error) = self.0.connection.call::<u8>(&mark).await {
                tracing::debug!(shard, %error, "a shard does not know whether this worker is idle");
            }
        }
    }

    async fn claim_from(
        &self,
        shard: u16,
        claim: &Claim<'_>,
        classes: &[Class],
        count: usize,
        busy: bool,
        alone: bool,
    ) -> Result<Vec<Lease>, Error> {
        let config = &self.0.config;
        let place = (claim.worker.as_str().to_owned(), shard);
        let unanswered = self.unanswered().remove(&place);
        let token = unanswered.unwrap_or_else(Uuid::new_v4);
        let mut command = self.function(shard, "claim");
        command.arg(claim.worker.as_str()).arg(token.as_bytes()).arg(config.lease.as_millis() as u64);
        command.arg(config.retention_ms()).arg(config.bulk_every);
        command.arg(claim.capacity.map_or_else(|| "+inf".to_owned(), |capacity| capacity.to_string()));
        command.arg(count).arg(u8::from(busy));
        for class in classes {
            command.arg(class.as_str());
        }
        for name in claim.loras {
            command.arg(format!("lora:{name}"));
        }
        for tenant in claim.without {
            command.arg(format!("without:{tenant}"));
        }
        command.arg("stages").arg(format!("order:{}", CLAIMS.fetch_add(1, Ordering::Relaxed)));
        if unanswered.is_some() {
            command.arg("again");
        }
        if alone {
            command.arg("alone");
        }
        for _ in 0..MAX_CALLS {
            let answer = self.claimed(&command).await.inspect_err(|error| {
                if matches!(error, Error::Unreachable(_)) {
                    self.unanswered().insert(place.clone(), token);
                }
            });
            let mut reply = Reply::list(answer?)?;
            let again: bool = reply.next()?;
            let mut leases = Vec::new();
            for granted in reply.rest() {
                leases.extend(Lease::read(self.clone(), shard, token, granted).await?);
            }
            if !again || !leases.is_empty() {
                return Ok(leases);
            }
        }
        Ok(Vec::new())
    }

    /// The answer to a claim. One that was lost is asked for again, at once and by the next claim: the jobs may have been
    /// claimed, or may be when a silent link carries on, and would wait for their leases to run out.
    async fn claimed(&self, command: &redis::Cmd) -> Result<Value, Error> {
        match self.0.connection.call(command).await {
            Err(Error::Unreachable(reason)) => {
                tracing::debug!(reason, "a claim got no answer: it is asked again");
                self.0.connection.call(command.clone().arg("again")).await
            }
            answer => answer,
        }
    }

    fn unanswered(&self) -> MutexGuard<'_, HashMap<(String, u16), Uuid>> {
        self.0.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One job of any class, or none.
    ///
    /// # Errors
    /// As [`Queue::claim`].
    pub async fn claim_one(&self, worker: &WorkerId) -> Result<Option<Lease>, Error> {
        Ok(self.claim(&Claim::one(worker)).await?.pop())
    }
}
