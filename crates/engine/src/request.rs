use std::ops::RangeInclusive;

use crate::Reference;
use crate::uso::positions::PositionShift;

/// Largest side of a picture or a content reference in pixels, and smallest.
pub const SIDE: RangeInclusive<u32> = 16..=2048;
/// Sampling steps of one picture.
pub const STEPS: RangeInclusive<u32> = 1..=100;
/// Guidance strength.
pub const GUIDANCE: RangeInclusive<f64> = 1.0..=10.0;
/// How much the first block may differ for the others to be skipped; 0 for every step whole.
pub const STEP_CACHE: RangeInclusive<f64> = 0.0..=1.0;
/// Style references of one picture.
pub const MAX_STYLES: usize = 4;

/// One picture to draw. No ids and no addresses: the engine knows only images and numbers.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to draw; empty to keep the content reference's layout.
    pub prompt: String,
    /// The subject, or the picture whose layout is kept.
    pub content: Option<Reference>,
    /// Pictures whose style is taken over.
    pub styles: Vec<Reference>,
    /// Width of the picture in pixels; cut to a multiple of 16.
    pub width: u32,
    /// Height of the picture in pixels; cut to a multiple of 16.
    pub height: u32,
    /// Take the proportions of the content reference instead of `width` and `height`.
    pub keep_size: bool,
    /// Longest side to which the content reference is resized, in pixels.
    pub content_size: u32,
    /// Sampling steps.
    pub steps: u32,
    /// Guidance strength.
    pub guidance: f64,
    /// Seed of the start noise; its low 32 bits count.
    pub seed: u64,
    /// How the content reference's positions are moved away from the target's.
    pub position_shift: PositionShift,
    /// LoRAs of its own, no name twice.
    pub loras: Vec<RequestLora>,
    /// Where the transformer's first block adds to the picture's tokens what it added in the last whole step, but for
    /// this share of it on average, all other blocks are skipped in that step: quicker, and another picture. 0 for every
    /// step whole, at most 1; the first step and the last one always are. So is the one after [`Engine::resume`], so that
    /// the picture is another one than if it had not been interrupted.
    ///
    /// [`Engine::resume`]: crate::Engine::resume
    pub step_cache: f64,
}

impl Request {
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
    /// The digest that it must have: under the same name another engine may have other numbers.
    pub digest: String,
    /// What its changes are multiplied by; with 0 it changes nothing.
    pub weight: f64,
}

/// LoRAs of one request.
pub const MAX_LORAS: usize = 4;
/// What a LoRA's changes may be multiplied by: beyond this it leaves nothing of the model.
pub const LORA_WEIGHT: RangeInclusive<f64> = -10.0..=10.0;
