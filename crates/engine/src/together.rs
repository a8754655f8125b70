//! What engines say of steps of several samples together.

use std::time::Duration;

/// What samples that are stepped together have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Width and height of the prepared content reference in pixels; None without one.
    pub content: Option<(u32, u32)>,
    /// Number of style references.
    pub styles: u32,
    /// Digest of each LoRA of the request, and the bits of its weight.
    pub loras: Vec<(String, u64)>,
}

/// What a step of several samples together takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Together {
    /// Bytes besides what each sample keeps, as [`Footprint::working`](crate::Footprint::working) of one.
    pub working: u64,
    /// Expected time of the step, for all of them. None if it is unknown.
    pub expected: Option<Duration>,
}

impl Together {
    /// Part of the time of steps one after another below which a step together pays.
    pub const WORTH: f64 = 0.95;
}
