//! Processes and Redis die while a data set is made: each row is there once all the same.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Child;

use super::batch;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row};
use crate::fleet::Fleet;
use crate::resp::{Answer, command};

/// Workers at any moment.
const WORKERS: usize = 3;

/// Rows of a shard: small enough that there is always one to be packed.
const SHARD_PARTS: u64 = 25;

/// How long somebody who does a task is looked for before anybody is killed.
const SEARCH: Duration = Duration::from_secs(15);

const SEED: u64 = 7;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "kill",
    about: "Whether each row is there once after processes were killed",
    rows: &[Row {
        name: |sizes| {
            let Sizes { kills, killed, .. } = sizes;
            format!("SIGKILL at {kills} points of {killed} rows: rows missing or double, and other findings")
        },
        unit: "faults",
        goal: Goal::AtMost(0.0),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

/// Who dies.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// Whoever queues rows and puts outcomes into segments.
    Feeder,
    /// Somebody who makes a shard.
    Packer,
    Worker,
    Redis,
}

const VICTIMS: [Victim; 4] = [Victim::Feeder, Victim::Packer, Victim::Worker, Victim::Redis];

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut points: Vec<u64> = (0..sizes.kills).map(|_| random.u64(1..sizes.killed * 95 / 100)).collect();
    points.sort_unstable();
    let mut fleet = Fleet::start().await?;
    let store = fleet.store(&fleet.endpoint()).await?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(worker(&fleet).await?);
    }
    let shard = sizes.killed.div_ceil(SHARD_PARTS) as u32;
    let batch = batch::start(&fleet.queue, &store, shard, batch::alike(sizes.killed)).await?;
    let mut hit = Vec::new();
    for (point, victim) in points.into_iter().zip(VICTIMS.into_iter().cycle()) {
        batch::until_settled(&fleet.queue, &batch, point).await?;
        tracing::info!("row {point}: kills {victim:?}");
        hit.push(kill(&mut fleet, &mut workers, victim, &mut random).await?);
    }
    let view = batch::until_made(&fleet.queue, &batch).await?;
    let counts = fleet.queue.batch(&batch).await?.context("the batch is gone")?.counts;
    let findings = batch::findings(&store, &batch, sizes.killed).await?;
    for finding in findings.iter().take(10) {
        tracing::warn!("{finding}");
    }
    ensure!(counts.total == sizes.killed, "{counts:?}");
    for mut worker in workers {
        worker.kill().await?;
    }
    fleet.stop().await?;
    let found = hit.iter().filter(|found| **found).count();
    let note = format!(
        "{} shards; {found} of {} times the process that was meant was found, else another was killed",
        view.shards,
        hit.len()
    );
    Ok(Findings::of([findings.len() as f64]).note(note))
}

async fn worker(fleet: &Fleet) -> anyhow::Result<Child> {
    let args = ["work", "--engine", "scripted:step=2ms,size=32", "--allow-test-engine"];
    Ok(fleet.run(&args).await?.0)
}

/// Kills somebody and puts another in its place; gives whether it was the one that was meant.
async fn kill(
    fleet: &mut Fleet,
    workers: &mut [Child],
    victim: Victim,
    random: &mut fastrand::Rng,
) -> anyhow::Result<bool> {
    let found = match victim {
        Victim::Redis => {
            fleet.redis.kill().await?;
            fleet.redis.restart().await?;
            return Ok(true);
        }
        Victim::Worker => Some(random.usize(..workers.len())),
        Victim::Feeder => holder(fleet, workers, "run").await?,
        Victim::Packer => holder(fleet, workers, "pack:").await?,
    };
    let number = found.unwrap_or_else(|| random.usize(..workers.len()));
    let slot = workers.get_mut(number).context("no such worker")?;
    slot.kill().await?;
    *slot = worker(fleet).await?;
    Ok(found.is_some())
}

/// Which of the workers does a task of this name, if one is found in time.
async fn holder(fleet: &Fleet, workers: &[Child], task: &str) -> anyhow::Result<Option<usize>> {
    let search = async {
        loop {
            if let Some(found) = holder_now(fleet, workers, task).await? {
                return anyhow::Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SEARCH, search).await.ok().transpose()
}

async fn holder_now(fleet: &Fleet, workers: &[Child], task: &str) -> anyhow::Result<Option<usize>> {
    let mut resp = fleet.redis.resp()?;
    // There is one data set.
    let Answer::List(keys) = resp.call(&["KEYS", "{uso:*}:tasks:*"])? else { return Ok(None) };
    let Some(Answer::Text(key)) = keys.into_iter().next() else { return Ok(None) };
    resp.send(&command(&[b"HGETALL", &key]))?;
    let Answer::List(parts) = resp.receive()? else { return Ok(None) };
    let texts = parts.as_chunks::<2>().0.iter().filter_map(|[name, lease]| match (name, lease) {
        (Answer::Text(name), Answer::Text(lease)) if name.starts_with(task.as_bytes()) => Some(lease),
        _ => None,
    });
    let leases: Vec<_> = texts.collect();
    if leases.is_empty() {
        return Ok(None);
    }
    for (id, _, report) in fleet.queue.workers().await? {
        let name = id.as_bytes();
        let holds = |lease: &&Vec<u8>| lease.windows(name.len()).any(|part| part == name);
        if leases.iter().any(|lease| holds(lease)) {
            return Ok(workers.iter().position(|worker| worker.id() == Some(report.pid)));
        }
    }
    Ok(None)
}
