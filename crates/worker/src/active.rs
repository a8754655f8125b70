//! The jobs that this worker holds, and how far each is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uso_queue::{JobId, JobSpec};

use crate::device::{Phase, Progress, Rank};
use crate::hand_back::HandBack;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its references take long to come. Others go before it.
    Fetching,
    /// Its references have been asked for just now, or it waits for the device.
    Ahead,
    /// It has the device.
    Sampling {
        /// Steps that are left.
        left: u32,
    },
    /// It has begun, and lets another go first.
    SetAside {
        /// Steps that are left.
        left: u32,
    },
    /// The device is done with it.
    Leaving,
}

impl Stage {
    /// What a claim depends on: a step that does not change it wakes nobody.
    fn part(self) -> (u8, bool) {
        match self {
            Self::Ahead => (0, false),
            Self::Sampling { left } => (1, left < 2),
            Self::SetAside { .. } => (2, false),
            Self::Leaving => (3, false),
            Self::Fetching => (4, false),
        }
    }
}

/// What a job says of the size of its picture. Jobs of equal sizes can be stepped together, unless their references
/// have other proportions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Longest side of the content reference; 0 without one.
    pub(crate) content_size: u32,
    pub(crate) keep_size: bool,
    pub(crate) styles: usize,
}

impl Size {
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let content_size = if spec.content.is_some() { spec.content_size } else { 0 };
        let JobSpec { width, height, keep_size, .. } = *spec;
        Self { width, height, content_size, keep_size, styles: spec.styles.len() }
    }
}

/// One of the jobs.
#[derive(Debug, Clone)]
pub(crate) struct ActiveJob {
    pub(crate) id: JobId,
    pub(crate) tenant: String,
    pub(crate) rank: Rank,
    pub(crate) stage: Stage,
    pub(crate) size: Size,
    /// Whether nothing else is to run beside it: a worker was lost at it before.
    pub(crate) alone: bool,
    /// Asks for it to go back to the queue.
    pub(crate) hand_back: HandBack,
}

/// All jobs of this worker.
#[derive(Default)]
pub(crate) struct ActiveJobs {
    jobs: Mutex<BTreeMap<u64, ActiveJob>>,
    changed: Notify,
}

impl ActiveJobs {
    /// Takes a job in, for as long as the guard lives.
    pub(crate) fn take(self: &Arc<Self>, number: u64, job: ActiveJob) -> ActiveJobGuard {
        let hand_back = job.hand_back.clone();
        self.lock().insert(number, job);
        ActiveJobGuard { jobs: Arc::clone(self), number, hand_back }
    }

    /// All jobs as they are now.
    pub(crate) fn jobs(&self) -> Vec<ActiveJob> {
        self.lock().values().cloned().collect()
    }

    /// Returns when something has changed since the last time, for the one who asks.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ActiveJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job among the active ones, until this is dropped.
pub(crate) struct ActiveJobGuard {
    jobs: Arc<ActiveJobs>,
    number: u64,
    hand_back: HandBack,
}

impl ActiveJobGuard {
    /// Asks for the job to go back to the queue.
    pub(crate) fn hand_back(&self) -> &HandBack {
        &self.hand_back
    }

    /// Takes note of what the device says of a sample of so many steps.
    pub(crate) fn progress(&self, progress: Progress, of: u32) {
        let left = of.saturating_sub(progress.step);
        self.stage(match progress.phase {
            Phase::Waiting => Stage::Ahead,
            Phase::Sampling => Stage::Sampling { left },
            Phase::SetAside => Stage::SetAside { left },
        });
    }

    /// Whether it has not begun.
    pub(crate) fn is_ahead(&self) -> bool {
        self.jobs.lock().get(&self.number).is_some_and(|job| job.stage == Stage::Ahead)
    }

    /// Records how far the job is, and wakes the loop if that changes what it may claim.
    pub(crate) fn stage(&self, stage: Stage) {
        let before = match self.jobs.lock().get_mut(&self.number) {
            Some(job) => std::mem::replace(&mut job.stage, stage),
            None => return,
        };
        if before.part() != stage.part() {
            self.jobs.changed.notify_one();
        }
    }
}

impl Drop for ActiveJobGuard {
    fn drop(&mut self) {
        self.jobs.lock().remove(&self.number);
        self.jobs.changed.notify_one();
    }
}
