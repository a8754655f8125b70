//! What all jobs of a worker share, and how it is set up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uso_queue::Class;
use uso_store::Store;

use crate::step_paces::StepPaces;
use crate::store_watch::StoreWatch;
use crate::{DeviceThread, Metrics, Scoring};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Samples in progress beside those that are set aside; those of one shape may be stepped together.
    pub slots: usize,
    /// Samples that it sets aside at most.
    pub most_aside: usize,
    /// What it takes at all.
    pub classes: Vec<Class>,
    /// How often a checkpoint is kept, from which another worker can go on: what a worker's death costs at most.
    pub checkpoint_every: Duration,
    /// How often somebody who watches gets a preview.
    pub preview_every: Duration,
    /// How long a worker that is to stop may go on with what it has begun.
    pub grace: Duration,
    /// Who scores pictures here; none if jobs that ask for scores are left to others.
    pub scoring: Option<Scoring>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: 1,
            most_aside: 4,
            classes: Class::ALL.to_vec(),
            checkpoint_every: Duration::from_secs(5),
            preview_every: Duration::from_secs(1),
            grace: Duration::from_secs(20),
            scoring: None,
        }
    }
}

/// What jobs take of late.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<(f64, f64)>>);

impl Pace {
    /// Takes note of a job of so many steps, and of the time it took beside them.
    pub(crate) fn note(&self, steps: u32, beside: Duration) {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (steps, beside) = (f64::from(steps), beside.as_secs_f64());
        let towards = |mean: f64, value: f64| mean + (value - mean) / 8.0;
        let before = pace.unwrap_or((steps, beside));
        *pace = Some((towards(before.0, steps), towards(before.1, beside)));
    }

    /// Steps of a job and seconds beside them, as means; none before the first.
    pub(crate) fn mean(&self) -> Option<(f64, f64)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all jobs of a worker share.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) store_watch: StoreWatch,
    pub(crate) device: DeviceThread,
    pub(crate) metrics: Metrics,
    /// Attempts that a job may spend.
    pub(crate) attempts: u32,
    pub(crate) settings: Settings,
    pub(crate) pace: Pace,
    pub(crate) step_paces: StepPaces,
    /// Cancelled when nothing is waited for any more: the process is about to end.
    pub(crate) leave: CancellationToken,
}

impl Context {
    /// Who scores pictures here.
    pub(crate) fn scoring(&self) -> Option<&Scoring> {
        self.settings.scoring.as_ref()
    }
}
