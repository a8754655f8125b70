use crate::Reference;
use crate::uso::positions::PositionShift;

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
}
