//! One process of a measurement.

use clap::Args;
use tokio::runtime::Runtime;
use uso_queue::Queue;

use super::task::Task;
use super::{batches, depth, drain, enqueue, pickup, recovery, shares};
use crate::client::answer_with;
use crate::fleet::connect;

#[derive(Args)]
pub(crate) struct ClientArgs {
    /// The Redis that is measured.
    url: String,
    /// What to do, as JSON.
    task: String,
}

/// Does what it is told, and answers with a line of JSON.
pub(crate) fn client(runtime: &Runtime, args: &ClientArgs) -> anyhow::Result<()> {
    let url = &args.url;
    match serde_json::from_str(&args.task)? {
        Task::RawAdd(load) => answer_with(&enqueue::raw(url, load)?),
        Task::RawPickup { samples } => answer_with(&pickup::raw(url, samples)?),
        Task::Pickup { samples } => answer_with(&pickup::ours(runtime, url, samples)?),
        task => {
            let url = url.clone();
            // A task of its own, as any worker has: the runtime's first one is woken over the kernel.
            let done = runtime.spawn(async move { on_queue(&connect(&url).await?, task).await });
            runtime.block_on(done)?
        }
    }
}

async fn on_queue(queue: &Queue, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Submit(load) => answer_with(&enqueue::ours(queue, load).await?),
        Task::Drain { jobs, slots } => answer_with(&drain::ours(queue, jobs, slots).await?),
        Task::Hold => recovery::hold(queue).await,
        Task::Recover => recovery::recover(queue).await,
        Task::Settle { jobs } => answer_with(&depth::settle(queue, jobs).await?),
        Task::SubmitBatch { jobs } => answer_with(&batches::submit(queue, jobs).await?),
        Task::SteerBatch { batch } => answer_with(&batches::steer(queue, &batch).await?),
        Task::Share { claims } => answer_with(&shares::claim(queue, claims).await?),
        // These want Redis alone, or more than one connection.
        Task::RawAdd(_) | Task::RawPickup { .. } | Task::Pickup { .. } => Ok(()),
    }
}
