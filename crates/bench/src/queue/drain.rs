//! How fast one worker process gets through jobs that cost it nothing: claimed, kept, completed with a
//! result, with all events.

use std::time::Instant;

use anyhow::bail;
use tokio::task::JoinSet;
use uso_queue::{Claim, Keeper, Lease, Queue, Renewer, WorkerId};

use super::payload::output;
use super::setup::Setup;
use super::task::{Load, Task, Took};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::sides::Sides;

/// Jobs that a worker has in hand at once, on every side.
const SLOTS: usize = 64;

pub(super) const FIGURE: Figure<Setup> = Figure {
    name: "drain",
    about: "Jobs worked off by one process",
    rows: &[Row {
        name: |_| "drain with events and results, against BullMQ".into(),
        unit: "times",
        goal: Goal::AtLeast(1.5),
    }],
    measure: |setup| Box::pin(measure(setup)),
};

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    let jobs = setup.sizes.drain;
    let fill = Load::fill(jobs);
    let their_fill = Load { chunk: 500, ..fill };
    let theirs = ["drain".to_owned(), jobs.to_string(), SLOTS.to_string()];
    let mut sides = Sides::default();
    for _ in 0..setup.sizes.rounds {
        setup.rate(&Task::Submit(fill)).await?;
        let took: Took = setup.ask(&setup.server, &Task::Drain { jobs, slots: SLOTS }).await?;
        sides.add("uso", took.rate());
        if setup.bullmq_on_empty(&their_fill.words("bulk")).await?.is_some() {
            sides.add("BullMQ", setup.bullmq(&theirs).await);
        }
    }
    let note = sides.describe(&format!("drain of {jobs} in {SLOTS} slots, jobs/s"));
    Ok(Findings::of([sides.ratio("uso", "BullMQ")]).note(note))
}

/// Our side: how long from the start of the first job to the start of the last.
pub(super) async fn ours(queue: &Queue, jobs: usize, slots: usize) -> anyhow::Result<Took> {
    let (worker, renewer) = (WorkerId::new(), Renewer::start(queue));
    let (mut running, mut starts) = (JoinSet::new(), Vec::with_capacity(jobs));
    while starts.len() < jobs {
        let count = slots - running.len();
        let busy = !running.is_empty();
        let claim = Claim { count, busy, alone: !busy, ..Claim::one(&worker) };
        for lease in queue.claim(&claim).await? {
            let keeper = renewer.keep(&lease);
            running.spawn(work(lease, keeper));
        }
        let Some(first) = running.join_next().await else { bail!("{} of {jobs} jobs came", starts.len()) };
        starts.push(first??);
        while let Some(next) = running.try_join_next() {
            starts.push(next??);
        }
    }
    renewer.stop().await;
    starts.sort_unstable();
    let seconds = (starts[jobs - 1] - starts[0]).as_secs_f64();
    Ok(Took { jobs: jobs - 1, seconds })
}

/// Does nothing with a job, in all the ways in which a worker does something; gives when it began.
async fn work(lease: Lease, keeper: Keeper) -> anyhow::Result<Instant> {
    let begun = Instant::now();
    lease.complete(&output()).await?;
    drop(keeper);
    Ok(begun)
}
