//! One job that this worker holds a lease of: what each of its stages works with.

use std::sync::atomic::AtomicU64;

use uso_queue::{Class, Keeper, Lease};

use crate::Error;
use crate::active::ActiveJobGuard;
use crate::context::Context;
use crate::device::{Rank, Unfinished};
use crate::hand_back::HandBack;
use crate::stages::Checkpoints;
use crate::transfers::Until;

/// A job that this worker holds a lease of.
pub(crate) struct Job<'a> {
    pub(crate) context: &'a Context,
    pub(crate) lease: &'a Lease,
    pub(crate) keeper: &'a Keeper,
    pub(crate) active: &'a ActiveJobGuard,
    pub(crate) checkpoints: &'a Checkpoints<'a>,
    /// What the device did for pictures that were sampled for it and scored, in milliseconds.
    pub(crate) scored_ms: &'a AtomicU64,
}

impl Job<'_> {
    /// What `work` gives, unless the job is to go back before, or its lease is lost.
    pub(crate) async fn unless_handed_back<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Unfinished> {
        let lost = self.keeper.lost();
        tokio::select! {
            done = work => Ok(done?),
            () = self.hand_back().asked().cancelled() => Err(Unfinished::HandedBack(None)),
            () = lost.cancelled() => Err(Error::Abandoned.into()),
        }
    }

    pub(crate) fn hand_back(&self) -> &HandBack {
        self.active.hand_back()
    }

    /// How long a file may wait for the store.
    pub(crate) fn until(&self) -> Until {
        Until { lost: self.keeper.lost(), leave: self.context.leave.clone() }
    }
}

/// How urgent a job is.
pub(crate) fn rank(lease: &Lease) -> Rank {
    let spec = &lease.spec;
    let interactive = spec.class == Class::Interactive;
    Rank { interactive, priority: spec.priority, submitted_ms: lease.submitted_ms }
}
