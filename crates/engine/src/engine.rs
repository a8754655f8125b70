//! What every engine can do, whatever it draws with.

use std::time::Duration;

use crate::{Error, Image, LoraFile, PromptTokens, Request};

/// Longest side of a preview in pixels.
pub const PREVIEW_SIDE: u32 = 256;

/// Turns requests into pictures on one device. Synchronous, and used as a generic: the thread that
/// owns the device calls it, and samples never leave that thread.
pub trait Engine {
    /// A picture under way.
    type Sample;

    /// The model's name for logs and receipts.
    fn name(&self) -> &str;

    /// What it draws on, for example `cpu` or `cuda:0`.
    fn device(&self) -> String;

    /// What its pictures depend on beside their request: weights, precision and build, as far as it
    /// knows them. Only an engine with the same one may go on with a half-drawn picture.
    fn fingerprint(&self) -> &str;

    /// The precision its numbers are kept in, for example `f32`.
    fn precision(&self) -> &str;

    /// The LoRAs that requests may name, by name.
    fn loras(&self) -> &[LoraFile] {
        &[]
    }

    /// Side in pixels of the square that it makes of a style reference, for [`Purpose::Style`](crate::Purpose::Style).
    fn style_side(&self) -> u32 {
        384
    }

    /// Whether its pictures are made up. Worker records and receipts say so.
    fn is_scripted(&self) -> bool {
        false
    }

    /// How its model is laid out, in a line for people. None if nobody planned it.
    fn plan(&self) -> Option<&str> {
        None
    }

    /// How long a step of a sample should take here. None where nobody knows.
    fn expected_step(&self, _sample: &Self::Sample) -> Option<Duration> {
        None
    }

    /// Draws a known picture and compares it with the record of this model, if there is one; without
    /// one, the numbers must be finite and the picture must not be of one colour.
    ///
    /// # Errors
    /// An engine that gives one must not be given jobs: [`Error::SelfTest`] says what differs.
    fn self_test(&mut self) -> Result<(), Error>;

    /// Bytes that are free for samples beside the resident model, as found after it was loaded. None
    /// where the engine cannot tell: then everything is to be admitted.
    fn memory(&self) -> Option<u64>;

    /// What a sample of this request will take.
    fn footprint(&self, request: &Request) -> Footprint;

    /// What its cache of encoded prompts and references has done since the start.
    fn cache(&self) -> CacheCounts;

    /// Prepares a request: text, style and reference are encoded, the start noise is drawn.
    ///
    /// # Errors
    /// [`Error::Request`] names a parameter outside its limits; [`Error::Image`] a reference that
    /// cannot be used; otherwise the device failed.
    fn encode(&mut self, request: &Request) -> Result<Self::Sample, Error>;

    /// How many tokens the prompt of a sample has, and how many of them were cut. None if the engine does not
    /// read prompts.
    fn prompt_tokens(&self, _sample: &Self::Sample) -> Option<PromptTokens> {
        None
    }

    /// How far a sample has come.
    fn steps(&self, sample: &Self::Sample) -> Steps;

    /// Steps of a sample that were not computed whole, see [`Request::step_cache`], since it was encoded or resumed.
    fn skipped_steps(&self, _sample: &Self::Sample) -> u32 {
        0
    }

    /// One step towards the picture, to its end on the device; nothing happens when the sample is done.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the last step left the numbers; otherwise the device failed.
    fn step(&mut self, sample: &mut Self::Sample) -> Result<(), Error>;

    /// Moves to the host's memory what a sample does not need there while another is worked on, the
    /// [`Footprint::movable`] bytes of it. Its next step brings them back; all else can be done meanwhile.
    /// Nothing happens to a sample that is set aside already, or where device and host share their memory.
    ///
    /// # Errors
    /// If the device fails; the sample is as it was then.
    fn set_aside(&self, sample: &mut Self::Sample) -> Result<(), Error>;

    /// A small picture, of [`PREVIEW_SIDE`] pixels at most, of what the sample is becoming. None before
    /// its first step, and after [`Engine::resume`] before its next. Changes nothing.
    ///
    /// # Errors
    /// If the device fails.
    fn preview(&self, sample: &Self::Sample) -> Result<Option<Image>, Error>;

    /// A copy of the half-drawn picture for [`Engine::resume`], in memory of the host.
    ///
    /// # Errors
    /// If the device fails.
    fn checkpoint(&self, sample: &Self::Sample) -> Result<Vec<u8>, Error>;

    /// Prepares the request that `checkpoint` was made from and goes on where that stood. What can be
    /// had from the request again is not in the checkpoint, and neither is what [`Request::step_cache`] keeps:
    /// the next step is computed whole then.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it does not fit the request; else as [`Engine::encode`].
    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<Self::Sample, Error>;

    /// The picture of a sample, finished or not.
    ///
    /// # Errors
    /// If the device fails.
    fn decode(&mut self, sample: &Self::Sample) -> Result<Image, Error>;
}

/// What a sample takes of [`Engine::memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Bytes held from encoding to decoding.
    pub kept: u64,
    /// Those of them that are not held while the sample is set aside, see [`Engine::set_aside`].
    pub movable: u64,
    /// Bytes more while the engine works on it, at the worst of encoding, a step and decoding. An
    /// engine works on one sample at a time, so many samples need this once.
    pub working: u64,
}

impl Footprint {
    /// Bytes of a sample that has the device to itself.
    pub fn alone(self) -> u64 {
        self.kept.saturating_add(self.working)
    }

    /// Bytes of a sample that is set aside.
    pub fn aside(self) -> u64 {
        self.kept.saturating_sub(self.movable)
    }

    /// Bytes more that a sample needs to be worked on.
    pub fn turn(self) -> u64 {
        self.movable.saturating_add(self.working)
    }
}

/// What a cache has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Features that were there.
    pub hits: u64,
    /// Features that had to be made.
    pub misses: u64,
    /// Bytes that it holds now.
    pub bytes: u64,
}

/// How far a sample has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Steps done.
    pub done: u32,
    /// Steps in all.
    pub of: u32,
}

impl Steps {
    /// Whether nothing is left but decoding.
    pub fn is_done(self) -> bool {
        self.done >= self.of
    }
}
