//! What a worker counts.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Seconds, from a toy model's steps to the slowest card's pictures.
const BUCKETS: &[f64] =
    &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// Counters and histograms of one process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    /// Attempts by how they ended.
    pub(crate) attempts: IntCounterVec,
    /// Seconds by stage.
    pub(crate) stages: HistogramVec,
}

impl Metrics {
    /// Registers everything with `registry`.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let attempts = IntCounterVec::new(
            Opts::new("uso_worker_attempts_total", "Attempts at jobs by how they ended"),
            &["outcome"],
        )?;
        let stages = HistogramVec::new(
            HistogramOpts::new("uso_worker_stage_seconds", "Time a job spends in each stage of the worker")
                .buckets(BUCKETS.to_vec()),
            &["stage"],
        )?;
        registry.register(Box::new(attempts.clone()))?;
        registry.register(Box::new(stages.clone()))?;
        Ok(Self { attempts, stages })
    }

    pub(crate) fn stage(&self, stage: &str, milliseconds: u64) {
        self.stages.with_label_values(&[stage]).observe(milliseconds as f64 / 1000.0);
    }

    pub(crate) fn outcome(&self, outcome: &str) {
        self.attempts.with_label_values(&[outcome]).inc();
    }
}
