//! The steps of an engine, as they were done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use uso_engine::{Observer, Request};

/// One step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Seed of the job's noise: jobs are told apart by it.
    pub(crate) seed: u64,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// All steps so far, in their order.
#[derive(Clone, Default)]
pub(crate) struct StepLog(Arc<Mutex<Vec<Step>>>);

impl StepLog {
    /// What was done from the `first` on.
    pub(crate) fn since(&self, first: usize) -> Vec<Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(first).copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A sample, with the beginning of its latest step.
pub(crate) struct Sample {
    seed: u64,
    began: Instant,
}

impl Observer for StepLog {
    type Sample = Sample;

    fn begun(&mut self, request: &Request) -> Sample {
        Sample { seed: request.seed, began: Instant::now() }
    }

    fn before_step(&mut self, sample: &mut Sample) {
        sample.began = Instant::now();
    }

    fn after_step(&mut self, sample: &mut Sample) {
        let step = Step { seed: sample.seed, began: sample.began, ended: Instant::now() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }
}
