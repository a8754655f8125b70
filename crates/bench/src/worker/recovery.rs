//! Steps done twice when workers die or are told to stop in the middle of a picture.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::process::{Child, Command};
use uso_queue::{EventId, EventKind, EventTail, JobId};

use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::Fleet;

const STEPS: u32 = 100;
const SCRIPT: &str = "scripted:step=100ms";

const PATIENCE: Duration = Duration::from_secs(120);

pub(super) const KILL: Figure<Sizes> = Figure {
    name: "kill",
    about: "Steps done twice after workers were killed",
    rows: &[
        Row {
            name: |sizes| format!("steps repeated after SIGKILL at {} random steps, mean", sizes.kills),
            unit: "steps",
            goal: Goal::AtMost(6.0),
        },
        Row {
            name: |_| "steps repeated after SIGKILL, largest".into(),
            unit: "steps",
            goal: Goal::AtMost(12.0),
        },
    ],
    measure: |sizes| Box::pin(kill(sizes)),
};

pub(super) const STOP: Figure<Sizes> = Figure {
    name: "stop",
    about: "Steps done twice after workers were told to stop",
    rows: &[Row {
        name: |sizes| format!("steps repeated after SIGTERM at {} random steps, largest", sizes.stops),
        unit: "steps",
        goal: Goal::AtMost(0.0),
    }],
    measure: |sizes| Box::pin(stop(sizes)),
};

pub(super) const SAME_BYTES: Figure<Sizes> = Figure {
    name: "same-bytes",
    about: "Whether a picture that was interrupted is the same",
    rows: &[Row {
        name: |_| "identical bytes after kill and resume, bundled model".into(),
        unit: "of 1",
        goal: Goal::AtLeast(1.0),
    }],
    measure: |_| Box::pin(same_bytes()),
};

async fn kill(sizes: &Sizes) -> anyhow::Result<Findings> {
    let repeated = repeated(sizes, sizes.kills, "KILL").await?;
    let mean = repeated.iter().sum::<f64>() / repeated.len().max(1) as f64;
    Ok(Findings::of([Some(mean), repeated.into_iter().reduce(f64::max)]))
}

async fn stop(sizes: &Sizes) -> anyhow::Result<Findings> {
    let repeated = repeated(sizes, sizes.stops, "TERM").await?;
    Ok(Findings::of([repeated.into_iter().reduce(f64::max)]))
}

/// For each time that a worker ended by a signal, the steps that were done again.
async fn repeated(sizes: &Sizes, times: usize, signal: &str) -> anyhow::Result<Vec<f64>> {
    let lanes = sizes.lanes.min(times);
    let share = |lane: usize| (times + lane) / lanes;
    let all = (0..lanes).map(|lane| run_lane(share(lane), signal));
    Ok(try_join_all(all).await?.into_iter().flatten().collect())
}

/// One job after another, each begun by one worker and gone on with by the next.
async fn run_lane(times: usize, signal: &str) -> anyhow::Result<Vec<f64>> {
    let fleet = Fleet::start().await?;
    let mut tail = fleet.queue.tail(0, None).await?;
    let mut worker = fleet.run(&work_args()).await?.0;
    let mut repeated = Vec::new();
    for _ in 0..times {
        let (job, _) = fleet.submit("bulk", STEPS, Value::Null).await?;
        // Not so late that what is left is finished within the grace.
        let at = 5 + fastrand::u32(..STEPS - 20);
        step_after(&mut tail, &job, at, 1).await?;
        end(&mut worker, signal).await?;
        let done = last_step(&fleet, &mut tail, &job).await?;
        worker = fleet.run(&work_args()).await?.0;
        let next = step_after(&mut tail, &job, 0, 1).await?;
        repeated.push(f64::from(done + 1) - f64::from(next));
        fleet.queue.cancel(&job).await?;
    }
    end(&mut worker, "TERM").await?;
    fleet.stop().await?;
    Ok(repeated)
}

/// The first step of a job that is reported from now on, of those after `step`.
async fn step_after(tail: &mut EventTail, job: &JobId, step: u32, least: usize) -> anyhow::Result<u32> {
    let find = async {
        let mut found = Vec::new();
        loop {
            for event in tail.next().await? {
                match event.kind {
                    EventKind::Progress { step: done, .. } if event.job == *job && done > step => {
                        found.push(done);
                    }
                    _ => {}
                }
            }
            if found.len() >= least {
                return anyhow::Ok(found[0]);
            }
        }
    };
    tokio::time::timeout(PATIENCE, find).await.context("a job does not go on")?
}

/// The last step that a worker that is gone reported.
async fn last_step(fleet: &Fleet, tail: &mut EventTail, job: &JobId) -> anyhow::Result<u32> {
    let mut all = fleet.queue.tail(0, Some("0-1".parse::<EventId>().map_err(anyhow::Error::msg)?)).await?;
    let mut last = 0;
    while all.position() < newest(fleet, job).await? {
        for event in all.next().await? {
            match event.kind {
                EventKind::Progress { step, .. } if event.job == *job => last = last.max(step),
                _ => {}
            }
        }
    }
    *tail = fleet.queue.tail(0, Some(all.position())).await?;
    ensure!(last > 0, "a job had no steps");
    Ok(last)
}

async fn newest(fleet: &Fleet, job: &JobId) -> anyhow::Result<EventId> {
    Ok(fleet.queue.view(job).await?.context("a job is gone")?.last_event)
}

/// Compares a picture of the bundled model that was interrupted with the same one that was not.
async fn same_bytes() -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let args = ["work", "--checkpoint-every", "100ms"];
    let picture = serde_json::json!({ "width": 256, "height": 256, "seed": 7 });
    let mut worker = fleet.run(&args).await?.0;
    let (whole, _) = fleet.submit("bulk", STEPS, picture.clone()).await?;
    let whole = fleet.ended(&whole).await?.output.context("no picture")?;
    let (job, _) = fleet.submit("bulk", STEPS, picture).await?;
    let copied = async {
        loop {
            let view = fleet.queue.view(&job).await?.context("a job is gone")?;
            if view.checkpoint.is_some_and(|copy| copy.step >= 20) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, copied).await.context("no copy is kept")??;
    end(&mut worker, "KILL").await?;
    let mut worker = fleet.run(&args).await?.0;
    let resumed = fleet.ended(&job).await?.output.context("no picture")?;
    ensure!(resumed.receipt.resumed_from > 0, "the job was not gone on with");
    let same = f64::from(u8::from(resumed.sha256 == whole.sha256));
    end(&mut worker, "TERM").await?;
    fleet.stop().await?;
    let note = format!("resumed after step {}", written(f64::from(resumed.receipt.resumed_from)));
    Ok(Findings::of([same]).note(note))
}

fn work_args() -> [&'static str; 8] {
    ["work", "--engine", SCRIPT, "--allow-test-engine", "--checkpoint-every", "1s", "--grace", "1s"]
}

/// Sends a signal that ends a worker, and waits for its end.
async fn end(worker: &mut Child, signal: &str) -> anyhow::Result<()> {
    let pid = worker.id().context("a worker has ended by itself")?;
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().await?;
    ensure!(sent.success(), "cannot send {signal}");
    tokio::time::timeout(PATIENCE, worker.wait()).await.context("a worker does not end")??;
    Ok(())
}
