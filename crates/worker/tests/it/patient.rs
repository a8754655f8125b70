//! An engine whose first samples get no further than a step: only a look at them ends them, whenever it comes.

use uso_engine::{CacheCounts, Engine, Error, Footprint, Image, LoraFile, Request, Script, Scripted, Steps};

/// A [`Scripted`] engine whose first samples stop at a step.
pub(crate) struct Patient {
    scripted: Scripted,
    /// Samples to come that stop.
    left: u32,
    at: u32,
}

/// A sample, and whether it stops.
pub(crate) struct PatientSample {
    scripted: <Scripted as Engine>::Sample,
    stops: bool,
}

impl Patient {
    /// The first `count` samples stop after `at` steps.
    pub(crate) fn new(script: &str, count: u32, at: u32) -> Self {
        Self { scripted: Scripted::new(script.parse::<Script>().unwrap()), left: count, at }
    }
}

impl Engine for Patient {
    type Sample = PatientSample;

    fn name(&self) -> &str {
        self.scripted.name()
    }

    fn device(&self) -> String {
        self.scripted.device()
    }

    fn fingerprint(&self) -> &str {
        self.scripted.fingerprint()
    }

    fn precision(&self) -> &str {
        self.scripted.precision()
    }

    fn loras(&self) -> &[LoraFile] {
        self.scripted.loras()
    }

    fn is_scripted(&self) -> bool {
        true
    }

    fn self_test(&mut self) -> Result<(), Error> {
        self.scripted.self_test()
    }

    fn memory(&self) -> Option<u64> {
        self.scripted.memory()
    }

    fn footprint(&self, request: &Request) -> Footprint {
        self.scripted.footprint(request)
    }

    fn cache(&self) -> CacheCounts {
        self.scripted.cache()
    }

    fn encode(&mut self, request: &Request) -> Result<PatientSample, Error> {
        let stops = self.left > 0;
        self.left = self.left.saturating_sub(1);
        Ok(PatientSample { scripted: self.scripted.encode(request)?, stops })
    }

    fn steps(&self, sample: &PatientSample) -> Steps {
        self.scripted.steps(&sample.scripted)
    }

    fn step(&mut self, sample: &mut PatientSample) -> Result<(), Error> {
        if sample.stops && self.steps(sample).done == self.at {
            // Not a time that the test depends on: only so that waiting takes no processor.
            std::thread::sleep(std::time::Duration::from_millis(1));
            return Ok(());
        }
        self.scripted.step(&mut sample.scripted)
    }

    fn set_aside(&self, sample: &mut PatientSample) -> Result<(), Error> {
        self.scripted.set_aside(&mut sample.scripted)
    }

    fn preview(&self, sample: &PatientSample) -> Result<Option<Image>, Error> {
        self.scripted.preview(&sample.scripted)
    }

    fn checkpoint(&self, sample: &PatientSample) -> Result<Vec<u8>, Error> {
        self.scripted.checkpoint(&sample.scripted)
    }

    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<PatientSample, Error> {
        Ok(PatientSample { scripted: self.scripted.resume(request, checkpoint)?, stops: false })
    }

    fn decode_predicted(&mut self, sample: &PatientSample) -> Result<Option<Image>, Error> {
        self.scripted.decode_predicted(&sample.scripted)
    }

    fn decode(&mut self, sample: &PatientSample) -> Result<Image, Error> {
        self.scripted.decode(&sample.scripted)
    }
}
