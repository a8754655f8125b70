//! What one process of a measurement is to do.

use serde::{Deserialize, Serialize};
use uso_queue::BatchId;

/// A task, as one process tells it to another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Submits jobs.
    Submit(Load),
    /// Adds as many entries to a stream, with a chunk of them under way at once.
    RawAdd(Load),
    /// Works jobs off in so many slots.
    Drain { jobs: usize, slots: usize },
    /// Submits jobs to an idle worker, one at a time.
    Pickup { samples: usize },
    /// Adds entries to a stream for a reader that waits for them.
    RawPickup { samples: usize },
    /// Takes a job and holds it until this process is killed.
    Hold,
    /// Takes what others lost.
    Recover,
    /// Claims and settles, one job after another.
    Settle { jobs: usize },
    /// Submits a batch.
    SubmitBatch { jobs: usize },
    /// Pauses, resumes and cancels a batch while a worker asks for work.
    SteerBatch { batch: BatchId },
    /// Claims from two tenants with different weights.
    Share { claims: usize },
}

/// How long jobs took.
#[derive(Serialize, Deserialize)]
pub(super) struct Took {
    pub(super) jobs: usize,
    pub(super) seconds: f64,
}

impl Took {
    /// Jobs per second.
    pub(super) fn rate(&self) -> f64 {
        self.jobs as f64 / self.seconds
    }
}

/// What is submitted: at first so many that do not count, then so many that do.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) warm: usize,
    pub(super) jobs: usize,
    /// In one call.
    pub(super) chunk: usize,
    /// Whose jobs they are, in equal parts.
    pub(super) tenants: usize,
}

impl Load {
    /// One tenant's jobs, in chunks as large as they may be.
    pub(super) fn fill(jobs: usize) -> Self {
        Self { warm: 0, jobs, chunk: uso_queue::MAX_JOBS, tenants: 1 }
    }

    pub(super) fn timed(jobs: usize, chunk: usize) -> Self {
        Self { warm: jobs / 10, jobs, chunk, tenants: 1 }
    }

    /// How the programs of other queues are told.
    pub(super) fn words(&self, verb: &str) -> [String; 4] {
        [verb.into(), self.warm.to_string(), self.jobs.to_string(), self.chunk.to_string()]
    }
}
