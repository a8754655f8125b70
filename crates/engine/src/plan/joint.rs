//! Whether it pays to step samples together.

use serde::Serialize;

use super::budget::{DeviceBudget, SLACK_SHARE};
use super::cost::Seconds;
use super::picture::Picture;
use super::speed::Speed;
use super::trace::Tracer;
use crate::Together;

/// A step of several samples of the largest size together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct JointStep {
    /// As many samples as were asked for, at least two, or as fit.
    pub samples: u64,
    /// Bytes that they take on the device, the model not among them.
    pub bytes: u64,
    /// Time of the step, for all of them; None for a card of unknown speed.
    pub step: Option<Seconds>,
    /// Whether it takes less than [`Together::WORTH`] of their steps one after another.
    pub pays: Option<bool>,
}

impl JointStep {
    /// The step of at most `slots` samples that fits; None if no two do.
    pub(super) fn new(
        tracer: &Tracer<'_>,
        picture: &Picture,
        (slots, speed): (u64, Option<&Speed>),
        device: &DeviceBudget,
    ) -> Option<Self> {
        let room = device.usable_bytes.saturating_sub(device.resident_bytes);
        (2..=slots.max(2)).rev().find_map(|samples| {
            let trace = tracer.together(picture, samples);
            let slack = if tracer.backend.is_apart() { trace.step.bytes / SLACK_SHARE } else { 0 };
            let bytes = trace.step.bytes.saturating_add(slack);
            if bytes > room {
                return None;
            }
            let step = speed.map(|speed| tracer.cost(&trace, speed).step);
            let alone = speed.map(|speed| tracer.step(picture, speed).step.expected * samples as f64);
            let pays = step.zip(alone).map(|(step, alone)| step.expected < Together::WORTH * alone);
            Some(Self { samples, bytes, step, pays })
        })
    }
}
