//! What a worker counts.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use tokio::sync::watch;

use crate::DeviceThread;
use crate::device::{Activity, Clock, DeviceStatus};

/// Seconds, from a toy model's steps to the slowest card's pictures.
const BUCKETS: &[f64] =
    &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// Counters and histograms of one process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Attempts by how they ended.
    attempts: IntCounterVec,
    /// Seconds by stage.
    stages: HistogramVec,
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
        Ok(Self { registry: registry.clone(), attempts, stages })
    }

    /// Shows where the time of the process' device goes, and what its cache does.
    ///
    /// # Errors
    /// If there is one already.
    pub fn observe(&self, device: &DeviceThread) -> prometheus::Result<()> {
        self.registry.register(Box::new(DeviceMetrics::new(device)?))
    }

    pub(crate) fn stage(&self, stage: &str, spent: Duration) {
        self.stages.with_label_values(&[stage]).observe(spent.as_secs_f64());
    }

    pub(crate) fn outcome(&self, outcome: &str) {
        self.attempts.with_label_values(&[outcome]).inc();
    }
}

/// What the device counts itself, read when somebody asks.
struct DeviceMetrics {
    clock: Arc<Clock>,
    standing: watch::Receiver<DeviceStatus>,
    seconds: CounterVec,
    times: CounterVec,
    features: CounterVec,
}

impl DeviceMetrics {
    fn new(device: &DeviceThread) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, label: &str| CounterVec::new(Opts::new(name, help), &[label]);
        Ok(Self {
            clock: Arc::clone(device.clock()),
            standing: device.follow(),
            seconds: counter("uso_device_seconds_total", "Time of the device by what it did", "activity")?,
            times: counter("uso_device_operations_total", "What the device did, counted", "activity")?,
            features: counter("uso_device_features_total", "Features looked up in the cache", "found")?,
        })
    }
}

impl Collector for DeviceMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [&self.seconds, &self.times, &self.features].into_iter().flat_map(|counter| counter.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let set = |counter: &CounterVec, label: &str, value: f64| {
            let counter = counter.with_label_values(&[label]);
            counter.reset();
            counter.inc_by(value);
        };
        for activity in Activity::ALL {
            set(&self.seconds, activity.as_str(), self.clock.spent(activity).as_secs_f64());
            set(&self.times, activity.as_str(), self.clock.times(activity) as f64);
        }
        let counts = self.standing.borrow().cache;
        set(&self.features, "yes", counts.hits as f64);
        set(&self.features, "no", counts.misses as f64);
        [&self.seconds, &self.times, &self.features]
            .into_iter()
            .flat_map(|counter| counter.collect())
            .collect()
    }
}
