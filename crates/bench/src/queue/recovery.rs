//! How long a job stays with a worker that was killed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;
use uso_queue::{Class, Queue, Renewer, WorkerId};

use super::payload::spec;
use super::setup::Setup;
use super::task::Task;
use crate::client::answer_with;
use crate::figure::{Figure, Findings, Goal, Row};
use crate::sides::Sides;

/// Longest wait for anything a process says.
const PATIENCE: Duration = Duration::from_secs(60);
/// As a worker looks without any wake-up.
const LOOK: Duration = Duration::from_secs(1);

pub(super) const FIGURE: Figure<Setup> = Figure {
    name: "recovery",
    about: "How long a killed worker's job waits",
    rows: &[Row { name: |_| "recovery after kill -9".into(), unit: "s", goal: Goal::AtMost(12.0) }],
    measure: |setup| Box::pin(measure(setup)),
};

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    let mut sides = Sides::default();
    for round in 0..setup.sizes.recoveries {
        // Renewals come every 3 s: some workers die just after one, some just before.
        let alive = Duration::from_millis(3300 + 800 * round as u64);
        sides.add("uso", recovered_after(setup, alive).await?);
    }
    Ok(Findings::of([sides.median("uso")]).note(sides.describe("recovery after kill -9, s")))
}

/// Seconds from a worker's death to the next claim of its job.
async fn recovered_after(setup: &Setup, alive: Duration) -> anyhow::Result<f64> {
    setup.server.empty().await?;
    let mut holder = Process::start(setup.client(&setup.server, &Task::Hold)?)?;
    let held: Claimed = holder.next().await?;
    let mut other = Process::start(setup.client(&setup.server, &Task::Recover)?)?;
    let _ready: bool = other.next().await?;
    tokio::time::sleep(alive).await;
    let killed = Instant::now();
    // On Unix this is SIGKILL.
    holder.child.kill().await.context("cannot kill the worker")?;
    let again: Claimed = other.next().await?;
    let seconds = killed.elapsed().as_secs_f64();
    ensure!(again.job == held.job && again.fence > held.fence, "another job was claimed");
    Ok(seconds)
}

#[derive(Deserialize)]
struct Claimed {
    job: String,
    fence: u64,
}

/// A process that speaks while it runs.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start a worker")?;
        let stdout = child.stdout.take().context("a worker has no stdout")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    async fn next<T: for<'de> Deserialize<'de>>(&mut self) -> anyhow::Result<T> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.context("a worker says nothing")??.context("a worker ended early")?;
        serde_json::from_str(&line).with_context(|| format!("a worker said {line:?}"))
    }
}

/// Submits a job, claims it and holds it.
pub(super) async fn hold(queue: &Queue) -> anyhow::Result<()> {
    queue.submit("tenant", &spec(Class::Interactive)?).await?;
    let lease = queue.claim_one(&WorkerId::new()).await?.context("the job is gone")?;
    let renewer = Renewer::start(queue);
    let _keeper = renewer.keep(&lease);
    answer_with(&json!({ "job": lease.id, "fence": lease.fence }))?;
    tokio::time::sleep(PATIENCE).await;
    renewer.stop().await;
    Ok(())
}

/// Does what every worker does: reaps, and claims what comes.
pub(super) async fn recover(queue: &Queue) -> anyhow::Result<()> {
    let worker = WorkerId::new();
    let stop = CancellationToken::new();
    let (reaping, name) = (queue.clone(), worker.clone());
    let reaper = tokio::spawn({
        let stop = stop.clone();
        async move { reaping.reap_until(&name, stop).await }
    });
    let mut wakeups = queue.wakeups();
    answer_with(&true)?;
    let lease = loop {
        match queue.claim_one(&worker).await? {
            Some(lease) => break lease,
            None => wakeups.wait(LOOK).await,
        }
    };
    answer_with(&json!({ "job": lease.id, "fence": lease.fence }))?;
    stop.cancel();
    reaper.await?;
    Ok(lease.release().await?)
}
