//! How fast jobs are accepted, one at a time and in bulk.

use std::time::Instant;

use uso_queue::{Class, JobSpec, Queue, Submission};

use super::payload::{FIRST_SEED, spec};
use super::setup::Setup;
use super::task::{Load, Task, Took};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::resp::{Resp, command};
use crate::sides::Sides;

/// Jobs in one call of ours. More gain little, and Redis answers nobody else meanwhile.
const CHUNK: usize = 200;
/// Jobs in one call of the other queues, as they are usually measured.
const THEIR_CHUNK: usize = 500;
/// Raw commands under way at once.
const PIPELINE: usize = 64;

pub(super) const ONE: Figure<Setup> = Figure {
    name: "enqueue-one",
    about: "Jobs accepted one after another",
    rows: &[
        Row {
            name: |_| "enqueue one at a time, against raw XADD".into(),
            unit: "times",
            goal: Goal::AtLeast(0.8),
        },
        Row {
            name: |_| "enqueue one at a time, against BullMQ".into(),
            unit: "times",
            goal: Goal::AtLeast(2.0),
        },
    ],
    measure: |setup| Box::pin(one_at_a_time(setup)),
};

pub(super) const BULK: Figure<Setup> = Figure {
    name: "enqueue-bulk",
    about: "Jobs accepted many in one call",
    rows: &[
        Row {
            name: |_| "enqueue in bulk, against raw XADD, 64 under way".into(),
            unit: "times",
            goal: Goal::AtLeast(0.25),
        },
        Row {
            name: |_| "enqueue in bulk, against BullMQ addBulk".into(),
            unit: "times",
            goal: Goal::AtLeast(2.0),
        },
        Row {
            name: |_| "enqueue in bulk, against apalis push_bulk".into(),
            unit: "times",
            goal: Goal::AtLeast(1.0),
        },
    ],
    measure: |setup| Box::pin(in_bulk(setup)),
};

async fn one_at_a_time(setup: &Setup) -> anyhow::Result<Findings> {
    let load = Load::timed(setup.sizes.one, 1);
    let mut sides = Sides::default();
    for _ in 0..setup.sizes.rounds {
        sides.add("uso", setup.rate(&Task::Submit(load)).await?);
        sides.add("raw XADD", setup.rate(&Task::RawAdd(load)).await?);
        sides.add("BullMQ", setup.bullmq_on_empty(&load.words("add")).await?);
    }
    let against = ["raw XADD", "BullMQ"].map(|other| sides.ratio("uso", other));
    Ok(Findings::of(against).note(sides.describe("enqueue one at a time, jobs/s")))
}

async fn in_bulk(setup: &Setup) -> anyhow::Result<Findings> {
    let load = |chunk| Load::timed(setup.sizes.bulk, chunk);
    let (ours, raw, theirs) = (load(CHUNK), load(PIPELINE), load(THEIR_CHUNK));
    let mut sides = Sides::default();
    for _ in 0..setup.sizes.rounds {
        sides.add("uso", setup.rate(&Task::Submit(ours)).await?);
        sides.add("raw XADD", setup.rate(&Task::RawAdd(raw)).await?);
        sides.add("BullMQ", setup.bullmq_on_empty(&theirs.words("bulk")).await?);
        sides.add("apalis", setup.apalis_on_empty(&theirs.words("bulk")).await?);
    }
    let against = ["raw XADD", "BullMQ", "apalis"].map(|other| sides.ratio("uso", other));
    Ok(Findings::of(against)
        .note(sides.describe("enqueue in bulk, jobs/s"))
        .note(format!("  jobs a call: uso {CHUNK}, BullMQ and apalis {THEIR_CHUNK}")))
}

/// Our side.
pub(super) async fn ours(queue: &Queue, load: Load) -> anyhow::Result<Took> {
    let mut specs = vec![spec(Class::Bulk)?; load.chunk];
    submit(queue, &mut specs, Load { jobs: load.warm, tenants: 1, ..load }).await?;
    let begun = Instant::now();
    submit(queue, &mut specs, load).await?;
    Ok(Took { jobs: load.jobs, seconds: begun.elapsed().as_secs_f64() })
}

async fn submit(queue: &Queue, specs: &mut [JobSpec], load: Load) -> anyhow::Result<()> {
    let mut seed = FIRST_SEED;
    for tenant in 0..load.tenants {
        let name = format!("tenant-{tenant}");
        let mut left = load.jobs / load.tenants;
        while left > 0 {
            let chunk = left.min(specs.len());
            for spec in &mut specs[..chunk] {
                (spec.seed, seed) = (seed, seed + 1);
            }
            let jobs: Vec<Submission> = specs[..chunk].iter().map(Submission::from).collect();
            queue.submit_all(&name, &jobs).await?;
            left -= chunk;
        }
    }
    Ok(())
}

/// The same bytes into a bare stream.
pub(super) fn raw(url: &str, load: Load) -> anyhow::Result<Took> {
    let mut resp = Resp::connect(url)?;
    let one = add_command(Class::Bulk)?;
    add(&mut resp, &one, load.warm, load.chunk)?;
    let begun = Instant::now();
    add(&mut resp, &one, load.jobs, load.chunk)?;
    Ok(Took { jobs: load.jobs, seconds: begun.elapsed().as_secs_f64() })
}

/// Adds entries, always waiting for the answers of one pipeline before the next.
fn add(resp: &mut Resp, one: &[u8], jobs: usize, pipeline: usize) -> anyhow::Result<()> {
    let full = one.repeat(pipeline);
    let mut left = jobs;
    while left > 0 {
        let now = left.min(pipeline);
        resp.send(&full[..now * one.len()])?;
        for _ in 0..now {
            resp.receive()?;
        }
        left -= now;
    }
    Ok(())
}

/// The command that adds a job's bytes to a stream.
pub(super) fn add_command(class: Class) -> anyhow::Result<Vec<u8>> {
    let job = serde_json::to_vec(&spec(class)?)?;
    Ok(command(&[b"XADD", b"jobs", b"*", b"d", &job]))
}
