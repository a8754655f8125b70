//! What this worker holds, and how far each of it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uso_queue::JobId;

use crate::device::{Place, Progress, Rank};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its references are long in coming. Others go before it.
    Fetching,
    /// Its references have been asked for just now, or it waits for the device.
    Ahead,
    /// It is being drawn.
    Drawing {
        /// Steps that are left.
        left: u32,
    },
    /// It is half-drawn, and lets another go first.
    SetAside {
        /// Steps that are left.
        left: u32,
    },
    /// The device is done with it.
    Leaving,
}

impl Stage {
    /// What tells the stages apart that claims depend on.
    fn part(self) -> (u8, bool) {
        match self {
            Self::Ahead => (0, false),
            Self::Drawing { left } => (1, left < 2),
            Self::SetAside { .. } => (2, false),
            Self::Leaving => (3, false),
            Self::Fetching => (4, false),
        }
    }
}

/// One of the jobs.
#[derive(Debug, Clone)]
pub(crate) struct HeldJob {
    pub(crate) id: JobId,
    pub(crate) tenant: String,
    pub(crate) rank: Rank,
    pub(crate) stage: Stage,
    /// Whether nothing else is to run beside it: a worker was lost at it before.
    pub(crate) alone: bool,
    /// Tripped when it is to go back to the queue.
    pub(crate) hand_back: CancellationToken,
}

/// All jobs of this worker.
#[derive(Default)]
pub(crate) struct Held {
    jobs: Mutex<BTreeMap<u64, HeldJob>>,
    changed: Notify,
}

impl Held {
    /// Takes a job in, for as long as the ticket lives.
    pub(crate) fn take(self: &Arc<Self>, number: u64, job: HeldJob) -> Ticket {
        self.lock().insert(number, job);
        Ticket { held: Arc::clone(self), number }
    }

    /// All jobs as they are now.
    pub(crate) fn jobs(&self) -> Vec<HeldJob> {
        self.lock().values().cloned().collect()
    }

    /// Returns when something has changed since the last time, for the one who asks.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, HeldJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's place among those that are held.
pub(crate) struct Ticket {
    held: Arc<Held>,
    number: u64,
}

impl Ticket {
    /// Takes note of what the device says of a picture of so many steps.
    pub(crate) fn progress(&self, progress: Progress, of: u32) {
        let left = of.saturating_sub(progress.step);
        self.stage(match progress.place {
            Place::Waiting => Stage::Ahead,
            Place::Drawing => Stage::Drawing { left },
            Place::SetAside => Stage::SetAside { left },
        });
    }

    /// Whether it has not begun.
    pub(crate) fn is_ahead(&self) -> bool {
        self.held.lock().get(&self.number).is_some_and(|job| job.stage == Stage::Ahead)
    }

    /// Takes note of how far the job is. A step that changes nothing for others is not told.
    pub(crate) fn stage(&self, stage: Stage) {
        let before = match self.held.lock().get_mut(&self.number) {
            Some(job) => std::mem::replace(&mut job.stage, stage),
            None => return,
        };
        if before.part() != stage.part() {
            self.held.changed.notify_one();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.held.lock().remove(&self.number);
        self.held.changed.notify_one();
    }
}
