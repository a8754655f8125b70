use std::ops::RangeInclusive;

use crate::uso::positions::PositionShift;
use crate::{Error, Reference};

/// Side of a picture or a content reference in pixels.
pub const SIDE: RangeInclusive<u32> = 16..=2048;
/// Sampling steps of one picture.
pub const STEPS: RangeInclusive<u32> = 1..=100;
/// Guidance strength.
pub const GUIDANCE: RangeInclusive<f64> = 1.0..=10.0;
/// How much the first block may differ for the other blocks to be skipped; with 0 no step is skipped.
pub const STEP_CACHE: RangeInclusive<f64> = 0.0..=1.0;
/// Most style references of one picture.
pub const MAX_STYLES: usize = 4;

/// A picture to generate. It has no ids and no addresses: the engine knows only images and numbers.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt; empty to keep the content reference's layout.
    pub prompt: String,
    /// The content reference: the subject, or the picture whose layout to keep.
    pub content: Option<Reference>,
    /// The style references: pictures whose style to use.
    pub styles: Vec<Reference>,
    /// Width of the picture in pixels; rounded down to a multiple of 16.
    pub width: u32,
    /// Height of the picture in pixels; rounded down to a multiple of 16.
    pub height: u32,
    /// Use the proportions of the content reference instead of `width` and `height`.
    pub keep_size: bool,
    /// Longest side of the content reference after resizing, in pixels.
    pub content_size: u32,
    /// Sampling steps.
    pub steps: u32,
    /// Guidance strength.
    pub guidance: f64,
    /// Seed of the initial noise; only its low 32 bits are used.
    pub seed: u64,
    /// How to shift the content reference's positions away from the target's.
    pub position_shift: PositionShift,
    /// LoRAs for this request, each name at most once.
    pub loras: Vec<RequestLora>,
    /// First-block cache: if what the transformer's first block adds to the picture's tokens differs from the last full
    /// step by at most this share on average, the step skips all other blocks. This is faster, and changes the picture.
    /// From 0, which skips no step, to 1. The first and the last step are never skipped. Nor is the step after
    /// [`Engine::resume`], so an interrupted picture may differ from an uninterrupted one.
    ///
    /// [`Engine::resume`]: crate::Engine::resume
    pub step_cache: f64,
}

impl Request {
    /// Refuses what no model can generate, which can be told before one is loaded.
    ///
    /// # Errors
    /// [`Error::Request`] names the parameter and its limits.
    pub fn check(&self) -> Result<(), Error> {
        within("width", self.width, &SIDE)?;
        within("height", self.height, &SIDE)?;
        within("content_size", self.content_size, &SIDE)?;
        within("steps", self.steps, &STEPS)?;
        within("guidance", self.guidance, &GUIDANCE)?;
        within("step_cache", self.step_cache, &STEP_CACHE)?;
        within("styles", self.styles.len(), &(0..=MAX_STYLES))?;
        within("loras", self.loras.len(), &(0..=MAX_LORAS))?;
        self.loras.iter().try_for_each(|lora| within("loras", lora.weight, &LORA_WEIGHT))
    }

    /// Bytes of the pixels of its references.
    pub fn reference_bytes(&self) -> u64 {
        self.content.iter().chain(&self.styles).map(Reference::bytes).sum()
    }
}

/// A LoRA that a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestLora {
    /// One of [`Engine::loras`](crate::Engine::loras).
    pub name: String,
    /// The digest that it must have: another engine may have another LoRA under the same name.
    pub digest: String,
    /// Factor of its changes; with 0 it changes nothing.
    pub weight: f64,
}

/// Most LoRAs of one request.
pub const MAX_LORAS: usize = 4;
/// Allowed factors of a LoRA's changes: beyond these, nothing is left of the model.
pub const LORA_WEIGHT: RangeInclusive<f64> = -10.0..=10.0;

fn within<T: PartialOrd + std::fmt::Display>(
    parameter: &'static str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<(), Error> {
    if range.contains(&value) {
        return Ok(());
    }
    let reason = format!("{value} is not within {} to {}", range.start(), range.end());
    Err(Error::Request { parameter, reason })
}
