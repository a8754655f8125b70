//! Counts in this process what a job should do once and not in each step.

use std::sync::atomic::{AtomicU64, Ordering};

pub(super) static STYLE_ENCODER: Counter = Counter(AtomicU64::new(0));
pub(super) static MODULATIONS: Counter = Counter(AtomicU64::new(0));

/// How often something was called.
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Calls in this process so far, by all models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Pictures that the style encoder has encoded.
    pub style_encoder: u64,
    /// Passes over the transformer's modulations.
    pub modulations: u64,
}

impl Calls {
    /// The counts now.
    pub fn now() -> Self {
        Self { style_encoder: STYLE_ENCODER.get(), modulations: MODULATIONS.get() }
    }
}
