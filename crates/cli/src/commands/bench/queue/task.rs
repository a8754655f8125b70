//! What one process of a measurement does.

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use uso_queue::{BatchId, Config, Queue};

use super::enqueue::Load;
use super::{batches, depth, drain, enqueue, pickup, recovery, shares};
use crate::args::BenchClientArgs;
use crate::commands::say;

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

/// Does what `uso bench client` is told, and answers with a line of JSON.
pub(in crate::commands::bench) fn client(runtime: &Runtime, args: &BenchClientArgs) -> anyhow::Result<()> {
    let url = &args.url;
    match serde_json::from_str(&args.task)? {
        Task::RawAdd(load) => tell(&enqueue::raw(url, load)?),
        Task::RawPickup { samples } => tell(&pickup::raw(url, samples)?),
        Task::Pickup { samples } => tell(&pickup::ours(runtime, url, samples)?),
        task => {
            let url = url.clone();
            // A task of its own, as any worker has: the runtime's first one is woken over the kernel.
            let done = runtime.spawn(async move { on_queue(&open(&url).await?, task).await });
            runtime.block_on(done)?
        }
    }
}

async fn on_queue(queue: &Queue, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Submit(load) => tell(&enqueue::ours(queue, load).await?),
        Task::Drain { jobs, slots } => tell(&drain::ours(queue, jobs, slots).await?),
        Task::Hold => recovery::hold(queue).await,
        Task::Recover => recovery::recover(queue).await,
        Task::Settle { jobs } => tell(&depth::settle(queue, jobs).await?),
        Task::SubmitBatch { jobs } => tell(&batches::submit(queue, jobs).await?),
        Task::SteerBatch { batch } => tell(&batches::steer(queue, &batch).await?),
        Task::Share { claims } => tell(&shares::claim(queue, claims).await?),
        // These want Redis alone, or more than one connection.
        Task::RawAdd(_) | Task::RawPickup { .. } | Task::Pickup { .. } => Ok(()),
    }
}

/// A queue with its functions, as any process of the fleet opens it.
pub(super) async fn open(url: &str) -> anyhow::Result<Queue> {
    let queue = Queue::connect(Config::new(url)).await?;
    queue.migrate().await?;
    Ok(queue)
}

/// Says something to the process that asked.
pub(super) fn tell(answer: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(answer)?)
}
