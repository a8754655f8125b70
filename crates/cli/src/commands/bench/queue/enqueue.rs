//! How fast jobs are accepted, one at a time and in bulk.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use uso_queue::{Class, JobSpec, Queue, Submission};

use super::payload::{FIRST_SEED, spec};
use super::stage::Stage;
use super::task::{Task, Took};
use crate::commands::bench::report::{Goal, Report};
use crate::commands::bench::resp::{Resp, command};
use crate::commands::bench::sides::Sides;

/// Jobs in one call of ours. More gain little, and Redis answers nobody else meanwhile.
const CHUNK: usize = 200;
/// Jobs in one call of the other queues, as they are usually measured.
const THEIR_CHUNK: usize = 500;
/// Raw commands under way at once.
const PIPELINE: usize = 64;

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

    fn timed(jobs: usize, chunk: usize) -> Self {
        Self { warm: jobs / 10, jobs, chunk, tenants: 1 }
    }

    /// How the programs of other queues are told.
    pub(super) fn words(&self, verb: &str) -> [String; 4] {
        [verb.into(), self.warm.to_string(), self.jobs.to_string(), self.chunk.to_string()]
    }
}

pub(super) async fn one_at_a_time(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let load = Load::timed(stage.sizes.one, 1);
    let mut sides = Sides::default();
    for _ in 0..stage.sizes.rounds {
        sides.add("uso", stage.rate(&Task::Submit(load)).await?);
        sides.add("raw XADD", stage.rate(&Task::RawAdd(load)).await?);
        sides.add("BullMQ", stage.bullmq_on_empty(&load.words("add")).await?);
    }
    let row = |other| (format!("enqueue one at a time, against {other}"), sides.ratio("uso", other));
    let (figure, value) = row("raw XADD");
    report.row(figure, value, "times", Goal::AtLeast(0.8));
    let (figure, value) = row("BullMQ");
    report.row(figure, value, "times", Goal::AtLeast(2.0));
    report.note(sides.describe("enqueue one at a time, jobs/s"));
    Ok(())
}

pub(super) async fn in_bulk(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let load = |chunk| Load::timed(stage.sizes.bulk, chunk);
    let (ours, raw, theirs) = (load(CHUNK), load(PIPELINE), load(THEIR_CHUNK));
    let mut sides = Sides::default();
    for _ in 0..stage.sizes.rounds {
        sides.add("uso", stage.rate(&Task::Submit(ours)).await?);
        sides.add("raw XADD", stage.rate(&Task::RawAdd(raw)).await?);
        sides.add("BullMQ", stage.bullmq_on_empty(&theirs.words("bulk")).await?);
        sides.add("apalis", stage.apalis_on_empty(&theirs.words("bulk")).await?);
    }
    for (other, what, least) in [
        ("raw XADD", "raw XADD, 64 under way", 0.25),
        ("BullMQ", "BullMQ addBulk", 2.0),
        ("apalis", "apalis push_bulk", 1.0),
    ] {
        let figure = format!("enqueue in bulk, against {what}");
        report.row(figure, sides.ratio("uso", other), "times", Goal::AtLeast(least));
    }
    report.note(sides.describe("enqueue in bulk, jobs/s"));
    report.note(format!("  jobs a call: uso {CHUNK}, BullMQ and apalis {THEIR_CHUNK}"));
    Ok(())
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
