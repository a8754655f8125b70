//! The interface of every engine.

use std::time::Duration;

use crate::cache::CacheCounts;
use crate::{Error, Image, LoraFile, PromptTokens, Request, Shape, Together};

/// Longest side of a preview in pixels.
pub const PREVIEW_SIDE: u32 = 256;

/// Turns requests into pictures on one device. Synchronous, and used as a generic: the thread that owns the device
/// calls it, and samples never leave that thread.
pub trait Engine {
    /// A picture that is being sampled.
    type Sample;

    /// The model's name for logs and receipts.
    fn name(&self) -> &str;

    /// Device that it computes on, for example `cpu` or `cuda:0`.
    fn device(&self) -> String;

    /// Fingerprint of what its pictures depend on besides the request: weights, precision and build. Only an engine
    /// with the same fingerprint may resume from a checkpoint.
    fn fingerprint(&self) -> &str;

    /// The compute type, for example `f32`.
    fn precision(&self) -> &str;

    /// The LoRAs that requests may ask for, in the order of their names.
    fn loras(&self) -> &[LoraFile] {
        &[]
    }

    /// Side in pixels of the square to which it resizes a style reference, for
    /// [`Purpose::Style`](crate::Purpose::Style).
    fn style_side(&self) -> u32 {
        384
    }

    /// Whether its pictures are noise, from a script. Worker records and receipts show this.
    fn is_scripted(&self) -> bool {
        false
    }

    /// How its model is laid out, in one line. None if there is no plan.
    fn plan(&self) -> Option<&str> {
        None
    }

    /// Expected time of a step of a sample. None if it is unknown.
    fn expected_step(&self, _sample: &Self::Sample) -> Option<Duration> {
        None
    }

    /// Generates a known picture and compares it with the model's record, if it has one. Without a record, all numbers
    /// must be finite and the picture must have more than one colour.
    ///
    /// # Errors
    /// [`Error::SelfTest`] says what differs. An engine that fails this test must not get jobs.
    fn self_test(&mut self) -> Result<(), Error>;

    /// Bytes that are free for samples besides the loaded model, measured after loading. None if the engine cannot
    /// tell: then every sample is admitted.
    fn memory(&self) -> Option<u64>;

    /// Memory that a sample of this request will take.
    fn footprint(&self, request: &Request) -> Footprint;

    /// Counts of its cache of encoded prompts and references since the start.
    fn cache(&self) -> CacheCounts;

    /// Prepares a request: encodes text, styles and content reference, and makes the initial noise.
    ///
    /// # Errors
    /// [`Error::Request`] for a parameter outside its limits; [`Error::Image`] for a reference that cannot be used;
    /// else the device failed.
    fn encode(&mut self, request: &Request) -> Result<Self::Sample, Error>;

    /// How many tokens the prompt of a sample has, and how many of them were cut. None if the engine does not read
    /// prompts.
    fn prompt_tokens(&self, _sample: &Self::Sample) -> Option<PromptTokens> {
        None
    }

    /// Progress of a sample.
    fn steps(&self, sample: &Self::Sample) -> Steps;

    /// Steps of a sample that [`Request::step_cache`] has skipped since it was encoded or resumed.
    fn skipped_steps(&self, _sample: &Self::Sample) -> u32 {
        0
    }

    /// Does one step and waits until the device has finished it. Does nothing if the sample is done.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the last step gives numbers that are not finite; else the device failed.
    fn step(&mut self, sample: &mut Self::Sample) -> Result<(), Error>;

    /// What a sample of this request has in common with those that it can be stepped with: samples of equal shapes can be
    /// stepped together. None if it has to be stepped alone.
    fn shape(&self, _request: &Request) -> Option<Shape> {
        None
    }

    /// What a step of so many samples of this request's shape together takes.
    fn together(&self, request: &Request, samples: usize) -> Together {
        let working = self.footprint(request).working.saturating_mul(samples as u64);
        Together { working, expected: None }
    }

    /// Does one step of each of these samples, whose shapes are equal, and waits until the device has finished them. They
    /// may be at different steps; those that are done stay as they are. Gives each sample's own end, in their order.
    ///
    /// # Errors
    /// For all samples: the device failed, and no sample has changed. For one of them: as [`Engine::step`].
    fn step_together(&mut self, samples: &mut [&mut Self::Sample]) -> Result<Vec<Result<(), Error>>, Error> {
        Ok(samples.iter_mut().map(|sample| self.step(sample)).collect())
    }

    /// Sets a sample aside so that the device can work on another: moves its [`Footprint::movable`] bytes to host
    /// memory. Its next step moves them back; everything else still works in the meantime. Does nothing if the sample
    /// is already set aside, or if device and host share memory.
    ///
    /// # Errors
    /// If the device fails. The sample is unchanged then.
    fn set_aside(&self, sample: &mut Self::Sample) -> Result<(), Error>;

    /// A small preview of the sample, at most [`PREVIEW_SIDE`] pixels a side. None before its first step, and after
    /// [`Engine::resume`] until its next step. Does not change the sample.
    ///
    /// # Errors
    /// If the device fails.
    fn preview(&self, sample: &Self::Sample) -> Result<Option<Image>, Error>;

    /// A checkpoint of the unfinished sample for [`Engine::resume`], in host memory.
    ///
    /// # Errors
    /// If the device fails.
    fn checkpoint(&self, sample: &Self::Sample) -> Result<Vec<u8>, Error>;

    /// Prepares the request that `checkpoint` was made from and continues from there. The checkpoint does not contain
    /// what can be computed from the request again, nor what [`Request::step_cache`] keeps: the next step is computed
    /// in full.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the checkpoint does not fit the request; else as [`Engine::encode`].
    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<Self::Sample, Error>;

    /// The picture that the sample would become if its last step's prediction held from here on, in full size. None
    /// before its first step, and after [`Engine::resume`] until its next step. It takes as long as [`Engine::decode`].
    /// Does not change the sample.
    ///
    /// # Errors
    /// If the device fails.
    fn decode_predicted(&mut self, sample: &Self::Sample) -> Result<Option<Image>, Error>;

    /// The picture of a sample, finished or not.
    ///
    /// # Errors
    /// If the device fails.
    fn decode(&mut self, sample: &Self::Sample) -> Result<Image, Error>;
}

/// What a sample takes of [`Engine::memory`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Bytes held from encoding to decoding.
    pub kept: u64,
    /// Part of `kept` that leaves the device while the sample is set aside, see [`Engine::set_aside`].
    pub movable: u64,
    /// Additional bytes while the engine works on it, at the peak of encoding, a step and decoding. An engine works on
    /// one sample at a time, so several samples need this once, unless they are stepped together: see
    /// [`Together::working`].
    pub working: u64,
}

impl Footprint {
    /// Bytes of a sample that is alone on the device.
    pub fn alone(self) -> u64 {
        self.kept.saturating_add(self.working)
    }

    /// Bytes of a sample that is set aside.
    pub fn aside(self) -> u64 {
        self.kept.saturating_sub(self.movable)
    }

    /// Additional bytes that a sample needs while the engine works on it.
    pub fn turn(self) -> u64 {
        self.movable.saturating_add(self.working)
    }
}

/// Progress of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Steps done.
    pub done: u32,
    /// Total steps.
    pub of: u32,
}

impl Steps {
    /// Whether all steps are done.
    pub fn is_done(self) -> bool {
        self.done >= self.of
    }
}
