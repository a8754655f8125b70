//! Workers: their names, and what they report.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{json, to_json};
use crate::limits::SILENT_LEASES;
use crate::reply::Reply;
use crate::{Class, Error, JobId, Queue, Scorer};

/// A process that takes part in the queue: one consumer of every stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerId(String);

impl WorkerId {
    /// A name of its own for this process.
    pub fn new() -> Self {
        Self(format!("w-{}", Uuid::new_v4().simple()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for WorkerId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What others see of a worker. What it does not say has the value of [`WorkerReport::default`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WorkerReport {
    /// Its machine.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// The version of its program.
    pub version: String,
    /// Whether it takes work.
    pub state: WorkerState,
    /// The device it generates on, for example `cuda:0`.
    pub device: String,
    /// Name of its model.
    pub model: String,
    /// The numbers it calculates with, for example `bf16`.
    pub precision: String,
    /// Digest of all that decides its numbers: weights, LoRAs that are part of the model, precision, kind of device
    /// and version of the program. A worker resumes another's checkpoint only if both have the same.
    pub fingerprint: String,
    /// Whether its engine is a scripted one, which generates nothing real.
    pub scripted: bool,
    /// Pictures that it can generate at once.
    pub slots: u32,
    /// Jobs it holds now.
    pub running: u32,
    /// Which jobs these are.
    pub jobs: Vec<JobId>,
    /// What it claims.
    pub classes: Vec<Class>,
    /// Bytes of memory that it has free for one job; none if it does not say.
    pub capacity: Option<u64>,
    /// How long a step takes of late, on average, in milliseconds.
    pub step_ms: Option<f64>,
    /// The same for each size of which it has made pictures, the newest first; at most [`MAX_STEP_PACES`] of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub step_paces: Vec<StepPace>,
    /// How many steps a job has of late, on average.
    pub job_steps: Option<f64>,
    /// What a job takes of late beside its steps, from its claim to its result, on average, in milliseconds.
    pub beside_ms: Option<f64>,
    /// Bytes of the device's memory that are free.
    pub free_memory: Option<u64>,
    /// The share of its model that is read, from 0 to 1, while it loads.
    #[serde(default)]
    pub loading: Option<f64>,
    /// How it laid its model out, in a line; none if nobody planned it.
    #[serde(default)]
    pub plan: Option<String>,
    /// The LoRAs that jobs may ask it for.
    pub loras: Vec<WorkerLora>,
    /// The scorers that jobs may ask it for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<Scorer>,
    /// The share of prompts and references whose features were there from earlier jobs, from 0 to 1.
    pub cache_hit_rate: Option<f64>,
}

/// Sizes whose steps a worker reports at most.
pub const MAX_STEP_PACES: usize = 16;

/// How long steps of one size take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepPace {
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Longest side of the content reference in pixels; 0 without one.
    pub content_size: u32,
    /// Style references.
    pub styles: u32,
    /// How long a step takes of late, on average, in milliseconds.
    pub step_ms: f64,
}

/// A LoRA that a worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerLora {
    /// What jobs call it.
    pub name: String,
    /// What its numbers are known by: two workers may have others under the same name.
    pub digest: String,
}

/// Whether a worker takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It loads its model.
    #[default]
    Starting,
    /// It tests that its device computes right.
    SelfTest,
    /// It claims jobs.
    Ready,
    /// It finishes what it holds and then ends.
    Draining,
    /// It claims nothing while the object store does not answer.
    WaitingForStore,
    /// Its device hangs, and its process is about to end.
    Stuck,
}

impl WorkerState {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::SelfTest => "self_test",
            Self::Ready => "ready",
            Self::Stuck => "stuck",
            Self::Draining => "draining",
            Self::WaitingForStore => "waiting_for_store",
        }
    }
}

impl Queue {
    /// Registers a worker with what it reports. A heartbeat repeats it: a worker that was not heard of for three leases
    /// counts as gone.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn register(&self, worker: &WorkerId, report: &WorkerReport) -> Result<(), Error> {
        self.record(worker, &to_json(report)?).await
    }

    /// Takes a worker out at once, as it does when it ends.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn deregister(&self, worker: &WorkerId) -> Result<(), Error> {
        self.record(worker, "").await
    }

    async fn record(&self, worker: &WorkerId, text: &str) -> Result<(), Error> {
        for shard in self.shards() {
            let mut command = self.function(shard, "attend");
            command.arg(worker.as_str()).arg(text);
            let _: u8 = self.0.connection.call(&command).await?;
        }
        Ok(())
    }

    /// Workers that were heard of within three leases: name, when that was in milliseconds since the epoch by Redis'
    /// clock, and their report.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn workers(&self) -> Result<Vec<(String, u64, WorkerReport)>, Error> {
        // Every shard knows every worker.
        let mut command = self.function(0, "workers");
        command.arg(SILENT_LEASES * self.0.config.lease.as_millis() as u64);
        let reply = Reply::list(self.0.connection.call(&command).await?)?;
        let mut workers = Vec::new();
        for worker in reply.rest() {
            let mut worker = Reply::list(worker)?;
            let (name, seen): (String, u64) = (worker.next()?, worker.next()?);
            let says: Option<String> = worker.next()?;
            // A newer version may say more than this one understands.
            if let Some(report) = says.as_deref().and_then(|text| json(text).ok()) {
                workers.push((name, seen, report));
            }
        }
        Ok(workers)
    }
}
