//! A scripted engine whose steps are seen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use uso_engine::{CacheCounts, Engine, Error, Footprint, Image, Request, Scripted, Steps};

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Seed of the job's noise: jobs are told apart by it.
    pub(super) seed: u64,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// All steps so far, in their order.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    /// What was seen from the `first` on.
    pub(super) fn since(&self, first: usize) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(first).copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn add(&self, seen: Seen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
}

/// The engine.
pub(super) struct Observed {
    pub(super) engine: Scripted,
    pub(super) log: Log,
}

pub(super) struct Sample {
    seed: u64,
    sample: <Scripted as Engine>::Sample,
}

impl Engine for Observed {
    type Sample = Sample;

    fn name(&self) -> &str {
        self.engine.name()
    }

    fn device(&self) -> String {
        self.engine.device()
    }

    fn precision(&self) -> &str {
        self.engine.precision()
    }

    fn fingerprint(&self) -> &str {
        self.engine.fingerprint()
    }

    fn is_scripted(&self) -> bool {
        self.engine.is_scripted()
    }

    fn self_test(&mut self) -> Result<(), Error> {
        self.engine.self_test()
    }

    fn memory(&self) -> Option<u64> {
        self.engine.memory()
    }

    fn footprint(&self, request: &Request) -> Footprint {
        self.engine.footprint(request)
    }

    fn cache(&self) -> CacheCounts {
        self.engine.cache()
    }

    fn encode(&mut self, request: &Request) -> Result<Sample, Error> {
        Ok(Sample { seed: request.seed, sample: self.engine.encode(request)? })
    }

    fn steps(&self, sample: &Sample) -> Steps {
        self.engine.steps(&sample.sample)
    }

    fn step(&mut self, sample: &mut Sample) -> Result<(), Error> {
        let began = Instant::now();
        self.engine.step(&mut sample.sample)?;
        self.log.add(Seen { seed: sample.seed, began, ended: Instant::now() });
        Ok(())
    }

    fn set_aside(&self, sample: &mut Sample) -> Result<(), Error> {
        self.engine.set_aside(&mut sample.sample)
    }

    fn preview(&self, sample: &Sample) -> Result<Option<Image>, Error> {
        self.engine.preview(&sample.sample)
    }

    fn checkpoint(&self, sample: &Sample) -> Result<Vec<u8>, Error> {
        self.engine.checkpoint(&sample.sample)
    }

    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<Sample, Error> {
        Ok(Sample { seed: request.seed, sample: self.engine.resume(request, checkpoint)? })
    }

    fn decode(&mut self, sample: &Sample) -> Result<Image, Error> {
        self.engine.decode(&sample.sample)
    }
}
