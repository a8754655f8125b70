//! How long one call keeps Redis busy while a large batch is paused, resumed and canceled, and a
//! worker goes on asking for work.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use uso_queue::{BatchId, BatchOperation, Class, MAX_JOBS, Queue, Submission, WorkerId};

use super::payload::spec;
use super::setup::Setup;
use super::task::Task;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::resp::{Answer, Resp};
use crate::sides::{Sides, quantile};

/// Calls quicker than this many microseconds are not looked at.
const QUICK: &str = "100";

pub(super) const FIGURE: Figure<Setup> = Figure {
    name: "longest-call",
    about: "How long a batch operation keeps Redis busy at once",
    rows: &[Row {
        name: |setup| format!("longest call while a batch of {} is steered", setup.sizes.batch),
        unit: "ms",
        goal: Goal::AtMost(5.0),
    }],
    measure: |setup| Box::pin(measure(setup)),
};

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    let mut longest = Sides::default();
    let mut functions: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..setup.sizes.rounds {
        setup.server.empty().await?;
        let batch: BatchId = setup.ask(&setup.server, &Task::SubmitBatch { jobs: setup.sizes.batch }).await?;
        let mut resp = setup.server.resp()?;
        resp.call(&["CONFIG", "SET", "slowlog-log-slower-than", QUICK, "slowlog-max-len", "100000"])?;
        resp.call(&["SLOWLOG", "RESET"])?;
        let _done: bool = setup.ask(&setup.server, &Task::SteerBatch { batch }).await?;
        let calls = slow_calls(&mut resp)?;
        resp.call(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"])?;
        longest.add("uso", calls.iter().map(|(_, ms)| *ms).fold(0.0, f64::max));
        for (function, ms) in calls {
            functions.entry(function).or_default().push(ms);
        }
    }
    let mut found =
        Findings::of([longest.median("uso")]).note(longest.describe("longest call of a round, ms"));
    // Where half of a function's calls are quick and one is not, the machine was busy with something else.
    for (function, calls) in functions {
        let at = |q| quantile(&calls, q).map_or_else(String::new, written);
        found =
            found.note(format!("  {function}, ms: p50 {}, p99 {}, longest {}", at(0.5), at(0.99), at(1.0)));
    }
    Ok(found)
}

/// Names and milliseconds of the functions called that took long, as Redis timed them.
fn slow_calls(resp: &mut Resp) -> anyhow::Result<Vec<(String, f64)>> {
    let Answer::List(entries) = resp.call(&["SLOWLOG", "GET", "-1"])? else { return Ok(Vec::new()) };
    let call = |entry: &Answer| {
        let Answer::List(entry) = entry else { return None };
        let (Some(Answer::Integer(us)), Some(Answer::List(words))) = (entry.get(2), entry.get(3)) else {
            return None;
        };
        let (Some(Answer::Text(command)), Some(Answer::Text(name))) = (words.first(), words.get(1)) else {
            return None;
        };
        let called = command.eq_ignore_ascii_case(b"FCALL");
        called.then(|| (String::from_utf8_lossy(name).into_owned(), *us as f64 / 1e3))
    };
    Ok(entries.iter().filter_map(call).collect())
}

/// Submits a batch; gives its id.
pub(super) async fn submit(queue: &Queue, jobs: usize) -> anyhow::Result<BatchId> {
    let (spec, batch) = (spec(Class::Bulk)?, queue.new_batch("tenant")?);
    let all = vec![Submission { batch: Some(batch), ..Submission::from(&spec) }; jobs];
    for chunk in all.chunks(MAX_JOBS) {
        queue.submit_all("tenant", chunk).await?;
    }
    Ok(batch)
}

/// Pauses, resumes and cancels a batch; each time a worker walks over what that left behind.
pub(super) async fn steer(queue: &Queue, batch: &BatchId) -> anyhow::Result<bool> {
    let worker = WorkerId::new();
    queue.control_batch(batch, BatchOperation::Pause).await?;
    ensure!(queue.claim_one(&worker).await?.is_none(), "a paused job was claimed");
    queue.control_batch(batch, BatchOperation::Resume).await?;
    queue.claim_one(&worker).await?.context("a resumed job was not claimed")?.release().await?;
    queue.control_batch(batch, BatchOperation::Cancel).await?;
    ensure!(queue.claim_one(&worker).await?.is_none(), "a canceled job was claimed");
    queue.reap(&worker).await?;
    Ok(true)
}
