//! Checkpoints of partial samples: their bytes in the store, where they lie in the queue.
//!
//! A checkpoint only saves time. One that cannot be used costs some, never the job.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use uso_queue::{Checkpoint, Lease, Try};
use uso_store::{checkpoint_key, hexadecimal_sha256};

use crate::Error;
use crate::context::Context;
use crate::device::{PartialSample, Wanted};
use crate::transfers::{self, ReadError, Until};

const BYTES: &str = "application/octet-stream";

/// The checkpoints of a job while a worker holds it.
pub(crate) struct Checkpoints<'a> {
    context: &'a Context,
    lease: &'a Lease,
    /// The sample under way.
    sampled: Mutex<Sampled>,
    /// What the queue knows of; no other is of use.
    newest: Mutex<Option<Checkpoint>>,
}

/// What checkpoints say of the sample under way.
#[derive(Debug, Clone, Default)]
struct Sampled {
    /// What it depends on; only a sample with the same may go on with it.
    fingerprint: String,
    /// Those that were sampled before it and not accepted.
    tries: Vec<Try>,
}

impl<'a> Checkpoints<'a> {
    pub(crate) fn new(context: &'a Context, lease: &'a Lease) -> Self {
        let newest = Mutex::new(lease.checkpoint.clone());
        Self { context, lease, sampled: Mutex::default(), newest }
    }

    /// Says what the checkpoints from now on are of: what the sample depends on, and the tries before it.
    pub(crate) fn begin(&self, fingerprint: String, tries: Vec<Try>) {
        *self.sampled.lock().unwrap_or_else(PoisonError::into_inner) = Sampled { fingerprint, tries };
    }

    fn sampled(&self) -> Sampled {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes of the checkpoint that an earlier attempt left, if it is one of the sample under way.
    ///
    /// # Errors
    /// [`Error::StoreAway`]: steps that were done are not done again because of a store that gives nothing now.
    pub(crate) async fn fetch(&self) -> Result<Option<Bytes>, Error> {
        let (store, lease) = (&self.context.store, self.lease);
        let fingerprint = self.sampled().fingerprint;
        let Some(checkpoint) = lease.checkpoint.as_ref().filter(|checkpoint| has_object(checkpoint)) else {
            return Ok(None);
        };
        let read = async || match checkpoint.fingerprint == fingerprint {
            true => transfers::read(store, true, || store.get(&checkpoint.key)).await.map(Some),
            false => Ok(None),
        };
        let refused = match read().await {
            Ok(None) => "it was made with another model or request".into(),
            Ok(Some(bytes)) if hexadecimal_sha256(&bytes) == checkpoint.sha256 => {
                tracing::info!(job.id = %lease.id, step = checkpoint.step, "goes on after step {}", checkpoint.step);
                return Ok(Some(bytes));
            }
            Ok(Some(_)) => "its sha256 is not the recorded one".into(),
            Err(ReadError::Away(error)) => return Err(Error::StoreAway(error)),
            Err(ReadError::Own(error)) => error.to_string(),
        };
        tracing::warn!(job.id = %lease.id, step = checkpoint.step, "starts from step 0: checkpoint: {refused}");
        Ok(None)
    }

    /// Stores a partial sample, as soon as the store takes it; the queue does not know of it yet.
    pub(crate) async fn put(&self, partial: PartialSample, until: &Until) -> Result<Checkpoint, Error> {
        let (key, step) = (checkpoint_key(&self.lease.id, self.lease.fence, partial.step), partial.step);
        let (store, watch) = (&self.context.store, &self.context.store_watch);
        let new = store.new_object(&key, BYTES, partial.bytes);
        transfers::put(store, watch, &new, until).await?;
        let Sampled { fingerprint, tries } = self.sampled();
        Ok(Checkpoint { step, key, sha256: new.stored().sha256.clone(), fingerprint, tries })
    }

    /// The queue knows of this one now: deletes the one before, unless both lie in the same place.
    pub(crate) async fn recorded(&self, checkpoint: Checkpoint) {
        let key = checkpoint.key.clone();
        let before = self.replace(Some(checkpoint));
        self.delete(before.filter(|before| before.key != key)).await;
    }

    /// Deletes what nobody goes on from any more. What is left behind here, or by a crash, is for the
    /// bucket's lifecycle rule.
    pub(crate) async fn forget(&self) {
        let newest = self.replace(None);
        self.delete(newest).await;
    }

    /// Keeps a copy every so often, for as long as it is polled. The next is asked for when the one before
    /// has been stored, so that a slow store gets fewer.
    pub(crate) async fn keep_copies<T>(
        &self,
        every: Duration,
        wanted: &Wanted,
        mut copies: watch::Receiver<Option<PartialSample>>,
    ) -> T {
        let mut tick = tokio::time::interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => wanted.ask_for_copy(),
                news = copies.changed() => match news {
                    Ok(()) => {
                        let copy = copies.borrow_and_update().clone();
                        self.keep(copy).await;
                    }
                    // The device has ended: so will whoever polls this.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    async fn keep(&self, copy: Option<PartialSample>) {
        let Some(partial) = copy else { return };
        if self.context.store_watch.is_away() {
            return;
        }
        if let Err(error) = self.record(partial).await {
            tracing::warn!(job.id = %self.lease.id, %error, "a checkpoint was not kept");
        }
    }

    async fn record(&self, partial: PartialSample) -> Result<(), Error> {
        let (key, step) = (checkpoint_key(&self.lease.id, self.lease.fence, partial.step), partial.step);
        let stored = self.context.store.put(&key, BYTES, partial.bytes).await.map_err(|error| {
            self.context.store_watch.refused();
            Error::Upload(error)
        })?;
        let Sampled { fingerprint, tries } = self.sampled();
        let checkpoint = Checkpoint { step, key, sha256: stored.sha256, fingerprint, tries };
        self.lease.record_checkpoint(&checkpoint).await.map_err(Error::Record)?;
        self.recorded(checkpoint).await;
        Ok(())
    }

    /// Has the queue know of the tries before the sample under way, of which there is nothing yet.
    pub(crate) async fn record_tries(&self) {
        let Sampled { fingerprint, tries } = self.sampled();
        let checkpoint =
            Checkpoint { step: 0, key: String::new(), sha256: String::new(), fingerprint, tries };
        match self.lease.record_checkpoint(&checkpoint).await {
            Ok(()) => self.recorded(checkpoint).await,
            Err(error) => tracing::warn!(job.id = %self.lease.id, %error, "tries were not recorded"),
        }
    }

    fn replace(&self, newest: Option<Checkpoint>) -> Option<Checkpoint> {
        std::mem::replace(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner), newest)
    }

    async fn delete(&self, checkpoint: Option<Checkpoint>) {
        let Some(checkpoint) = checkpoint.filter(has_object) else { return };
        tokio::select! {
            deleted = self.context.store.delete(&checkpoint.key) => if let Err(error) = deleted {
                tracing::warn!(job.id = %self.lease.id, %error, "a checkpoint is left behind");
            },
            // Nobody waits for it at the end.
            () = self.context.leave.cancelled() => {}
        }
    }
}

/// Whether anything of the sample is in the store.
fn has_object(checkpoint: &Checkpoint) -> bool {
    !checkpoint.key.is_empty()
}
