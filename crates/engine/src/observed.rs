//! An engine that is watched while it works, for benchmarks and for tests of everything around an engine.

use std::time::Duration;

use crate::cache::CacheCounts;
use crate::engine::{Engine, Footprint, Steps};
use crate::error::Error;
use crate::image::Image;
use crate::model::LoraFile;
use crate::request::Request;
use crate::together::{Shape, Together};
use crate::tokenize::PromptTokens;

/// What is told of an engine's work, on the thread that does it.
pub trait Observer {
    /// What is remembered of a sample.
    type Sample;

    /// A sample of this request was encoded or resumed.
    fn begun(&mut self, request: &Request) -> Self::Sample;

    /// Its next step begins.
    fn before_step(&mut self, sample: &mut Self::Sample);

    /// The step was done; one that failed is not told of.
    fn after_step(&mut self, _sample: &mut Self::Sample) {}

    /// The sample is set aside.
    fn set_aside(&self, _sample: &mut Self::Sample) {}
}

/// Another engine, and who watches it.
pub struct Observed<E, O> {
    engine: E,
    observer: O,
}

/// A sample of an [`Observed`] engine.
pub struct ObservedSample<E: Engine, O: Observer> {
    sample: E::Sample,
    seen: O::Sample,
}

impl<E, O> Observed<E, O> {
    /// `engine`, whose work `observer` is told of.
    pub fn new(engine: E, observer: O) -> Self {
        Self { engine, observer }
    }
}

impl<E: Engine, O: Observer> Engine for Observed<E, O> {
    type Sample = ObservedSample<E, O>;

    fn name(&self) -> &str {
        self.engine.name()
    }

    fn device(&self) -> String {
        self.engine.device()
    }

    fn fingerprint(&self) -> &str {
        self.engine.fingerprint()
    }

    fn precision(&self) -> &str {
        self.engine.precision()
    }

    fn loras(&self) -> &[LoraFile] {
        self.engine.loras()
    }

    fn style_side(&self) -> u32 {
        self.engine.style_side()
    }

    fn is_scripted(&self) -> bool {
        self.engine.is_scripted()
    }

    fn plan(&self) -> Option<&str> {
        self.engine.plan()
    }

    fn expected_step(&self, sample: &Self::Sample) -> Option<Duration> {
        self.engine.expected_step(&sample.sample)
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

    fn encode(&mut self, request: &Request) -> Result<Self::Sample, Error> {
        let sample = self.engine.encode(request)?;
        Ok(ObservedSample { sample, seen: self.observer.begun(request) })
    }

    fn prompt_tokens(&self, sample: &Self::Sample) -> Option<PromptTokens> {
        self.engine.prompt_tokens(&sample.sample)
    }

    fn steps(&self, sample: &Self::Sample) -> Steps {
        self.engine.steps(&sample.sample)
    }

    fn skipped_steps(&self, sample: &Self::Sample) -> u32 {
        self.engine.skipped_steps(&sample.sample)
    }

    fn step(&mut self, sample: &mut Self::Sample) -> Result<(), Error> {
        self.observer.before_step(&mut sample.seen);
        self.engine.step(&mut sample.sample)?;
        self.observer.after_step(&mut sample.seen);
        Ok(())
    }

    fn shape(&self, request: &Request) -> Option<Shape> {
        self.engine.shape(request)
    }

    fn together(&self, request: &Request, samples: usize) -> Together {
        self.engine.together(request, samples)
    }

    fn step_together(&mut self, samples: &mut [&mut Self::Sample]) -> Result<Vec<Result<(), Error>>, Error> {
        samples.iter_mut().for_each(|sample| self.observer.before_step(&mut sample.seen));
        let mut inner: Vec<&mut E::Sample> = samples.iter_mut().map(|sample| &mut sample.sample).collect();
        let ends = self.engine.step_together(&mut inner)?;
        for (sample, end) in samples.iter_mut().zip(&ends) {
            if end.is_ok() {
                self.observer.after_step(&mut sample.seen);
            }
        }
        Ok(ends)
    }

    fn set_aside(&self, sample: &mut Self::Sample) -> Result<(), Error> {
        self.observer.set_aside(&mut sample.seen);
        self.engine.set_aside(&mut sample.sample)
    }

    fn preview(&self, sample: &Self::Sample) -> Result<Option<Image>, Error> {
        self.engine.preview(&sample.sample)
    }

    fn checkpoint(&self, sample: &Self::Sample) -> Result<Vec<u8>, Error> {
        self.engine.checkpoint(&sample.sample)
    }

    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<Self::Sample, Error> {
        let sample = self.engine.resume(request, checkpoint)?;
        Ok(ObservedSample { sample, seen: self.observer.begun(request) })
    }

    fn decode_predicted(&mut self, sample: &Self::Sample) -> Result<Option<Image>, Error> {
        self.engine.decode_predicted(&sample.sample)
    }

    fn decode(&mut self, sample: &Self::Sample) -> Result<Image, Error> {
        self.engine.decode(&sample.sample)
    }
}
