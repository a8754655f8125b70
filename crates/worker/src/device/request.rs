//! What the device is asked for, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uso_engine::{Error as EngineError, Image, PromptTokens, Request};

use super::Rank;
use crate::Error;

/// A picture to be sampled.
pub struct SampleRequest {
    /// What to sample.
    pub request: Arc<Request>,
    /// How urgent it is.
    pub rank: Rank,
    /// A checkpoint of the same request to go on from.
    pub resume: Option<Bytes>,
    /// Cancelled when nobody wants the picture any more; checked between steps.
    pub give_up: CancellationToken,
    /// Cancelled when the sample is to stop and be handed back; checked between steps.
    pub hand_back: CancellationToken,
    /// Cancelled by the device's watchdog when the device hangs at this sample.
    pub stuck: CancellationToken,
    /// Cancelled when the picture is not worth its other steps; checked between steps.
    pub drop: CancellationToken,
    /// After so many steps the picture that is predicted by then is given out, while sampling goes on; none for never.
    pub predict_after: Option<u32>,
    /// What else is wanted of it.
    pub wanted: Arc<Wanted>,
}

/// What may be wanted of a sample beside its steps; done between two of them.
#[derive(Debug, Default)]
pub struct Wanted {
    copy: AtomicBool,
    preview: AtomicBool,
}

impl Wanted {
    /// Asks for a copy of the partial sample.
    pub fn ask_for_copy(&self) {
        self.copy.store(true, Ordering::Relaxed);
    }

    /// Asks for a preview, as soon as the steps since the last one have paid for it.
    pub fn ask_for_preview(&self) {
        self.preview.store(true, Ordering::Relaxed);
    }

    /// Whether a copy was asked for; whoever takes the question must answer it.
    pub(super) fn take_copy(&self) -> bool {
        self.copy.swap(false, Ordering::Relaxed)
    }

    /// Whether a preview was asked for; whoever takes the question must answer it.
    pub(super) fn take_preview(&self) -> bool {
        self.preview.swap(false, Ordering::Relaxed)
    }
}

/// A sample under way.
pub struct RunningSample {
    /// How far it is. It holds the newest; values in between may be missed.
    pub progress: watch::Receiver<Progress>,
    /// The newest copy that was asked for.
    pub copy: watch::Receiver<Option<PartialSample>>,
    /// The newest preview that was asked for.
    pub preview: watch::Receiver<Option<Image>>,
    /// The predicted picture that was asked for; closed if there is none.
    pub predicted: oneshot::Receiver<Image>,
    /// Its end.
    pub end: oneshot::Receiver<Result<FinishedSample, Unfinished>>,
}

/// How far a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// Steps done.
    pub step: u32,
}

/// What a sample does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// It has not begun.
    #[default]
    Waiting,
    /// It has the device.
    Sampling,
    /// It has begun, and waits while another has the device.
    SetAside,
}

/// A finished picture and what it took.
#[derive(Debug, Clone)]
pub struct FinishedSample {
    /// The picture.
    pub image: Image,
    /// What it took.
    pub usage: Usage,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// It was asked to stop, and is to go on elsewhere; with what there is of it, none if no step was done.
    #[error("the sample was handed back")]
    HandedBack(Option<PartialSample>),
    /// It was dropped unfinished, because it is not worth its other steps; with what it took.
    #[error("the sample was dropped unfinished")]
    Dropped(Box<Usage>),
    /// It can never fit this device.
    #[error("it needs {need} bytes on the device; there are {memory}")]
    TooBig {
        /// Bytes that it needs.
        need: u64,
        /// Bytes that there are.
        memory: u64,
    },
    /// It failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<EngineError> for Unfinished {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.into())
    }
}

/// A sample that stopped between two steps.
#[derive(Debug, Clone)]
pub struct PartialSample {
    /// Steps done.
    pub step: u32,
    /// The checkpoint's bytes, from which an engine with the same fingerprint goes on.
    pub bytes: Bytes,
}

/// What the device did for a sample in this attempt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Time spent on text, style and reference.
    pub encode: Duration,
    /// Time spent on steps.
    pub sample: Duration,
    /// Time spent on turning the latent into pixels.
    pub decode: Duration,
    /// All of it, previews and copies too.
    pub device: Duration,
    /// Steps done.
    pub steps: u32,
    /// Most samples that did one of these steps together, this one among them; 0 if there was none.
    pub together: u32,
    /// Steps of these that were not computed whole, see [`Request::step_cache`].
    pub skipped_steps: u32,
    /// Steps that an attempt before had done.
    pub resumed_from: u32,
    /// Features that were in the cache already.
    pub cache_hits: u64,
    /// How often it had to let another sample go first.
    pub set_aside: u32,
    /// How much of the prompt was used; none if the engine does not read prompts.
    pub prompt_tokens: Option<PromptTokens>,
}

impl Usage {
    /// Adds what a later sample of the same job took.
    pub(crate) fn add(&mut self, later: &Self) {
        self.encode += later.encode;
        self.sample += later.sample;
        self.decode += later.decode;
        self.device += later.device;
        self.steps += later.steps;
        self.together = self.together.max(later.together);
        self.skipped_steps += later.skipped_steps;
        self.set_aside += later.set_aside;
        // What the job's first sample found was there from other jobs; what later ones find is its own.
        self.prompt_tokens = self.prompt_tokens.or(later.prompt_tokens);
    }
}
