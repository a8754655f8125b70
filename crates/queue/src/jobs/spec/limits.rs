//! What a request may ask for at most.

use std::ops::RangeInclusive;

/// Longest prompt in characters.
pub const MAX_PROMPT: usize = 10_000;
/// Largest `metadata` in bytes of JSON.
pub const MAX_METADATA: usize = 4096;
/// Style references of one job.
pub const MAX_STYLES: usize = 4;
/// Largest seed: the largest whole number that JSON keeps exactly everywhere.
pub const MAX_SEED: i64 = (1 << 53) - 1;

/// Width, height and longest side of the content reference in pixels.
pub const SIDE: RangeInclusive<i64> = 16..=2048;
/// Sampling steps.
pub const STEPS: RangeInclusive<i64> = 1..=100;
pub(super) const PRIORITY: RangeInclusive<i64> = -100..=100;
pub(super) const SEED: RangeInclusive<i64> = -1..=MAX_SEED;
/// Quality of a JPEG or WebP.
pub const QUALITY: RangeInclusive<i64> = 1..=100;
/// Guidance strength.
pub const GUIDANCE: RangeInclusive<f64> = 1.0..=10.0;
/// How much the transformer's first block may do differently for a step to be skipped, if the operator allows it.
pub const STEP_CACHE: RangeInclusive<f64> = 0.0..=1.0;
