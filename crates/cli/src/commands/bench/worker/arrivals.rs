//! Interactive jobs that come while the device is full of bulk work.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::Sizes;
use crate::commands::bench::observed::Seen;
use crate::commands::bench::report::{Goal, Report, written};
use crate::commands::bench::sides::quantile;
use crate::commands::bench::site::{Running, Site};

const SCRIPT: &str = "step=40ms";
const STEP_MS: f64 = 40.0;
const STEPS: u32 = 25;
/// Interactive jobs that wait during a flood.
const FLOOD: usize = 20;

/// A worker that is full of bulk work.
async fn full(seconds: u64) -> anyhow::Result<(Site, Running)> {
    let site = Site::start().await?;
    let jobs = seconds as usize + 10;
    for _ in 0..jobs {
        site.submit("bulk", STEPS, Value::Null).await?;
    }
    let worker = site.worker(site.store(&site.endpoint()).await?, SCRIPT).await?;
    worker.steps(STEPS as usize).await?;
    Ok((site, worker))
}

pub(super) async fn latency(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    // Each takes its own step, and a pause of 120 ms on average.
    let (site, worker) = full(sizes.interactive as u64 / 3).await?;
    let mut waits = Vec::new();
    for _ in 0..sizes.interactive {
        tokio::time::sleep(Duration::from_millis(20 + u64::from(random()) % 200)).await;
        let before = worker.log.len();
        let (_, seed) = site.submit("interactive", 1, Value::Null).await?;
        let accepted = Instant::now();
        let began = first_step(&worker, before, seed).await?;
        waits.push(began.saturating_duration_since(accepted).as_secs_f64() * 1e3);
    }
    let figure =
        format!("submit to first step of an interactive job under bulk load, p99 of {}", sizes.interactive);
    report.row(figure, quantile(&waits, 0.99), "ms", Goal::AtMost(STEP_MS + 15.0));
    let at = |q| quantile(&waits, q).map_or_else(String::new, written);
    report.note(format!("submit to first step, ms: p50 {}, p90 {}, longest {}", at(0.5), at(0.9), at(1.0)));
    worker.stop().await?;
    site.stop().await
}

async fn first_step(worker: &Running, before: usize, seed: u64) -> anyhow::Result<Instant> {
    let find = async {
        loop {
            if let Some(seen) = worker.log.since(before).iter().find(|seen| seen.seed == seed) {
                return seen.began;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), find).await.context("an interactive job does not begin")
}

pub(super) async fn mixed(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let (site, worker) = full(2 * sizes.seconds + 10).await?;
    let alone = steps_in(&worker, sizes.seconds).await?;
    // One job of a second every ten, on average.
    let arrivals = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5_000 + u64::from(random()) % 10_000)).await;
            if let Err(error) = site.submit("interactive", STEPS, Value::Null).await {
                return error;
            }
        }
    };
    let (first, mixed) = (worker.log.len(), steps_in(&worker, sizes.seconds));
    let mixed = tokio::select! { mixed = mixed => mixed?, error = arrivals => return Err(error) };
    let loss = 100.0 * (1.0 - mixed / alone);
    report.row(
        "bulk throughput lost to 10 % interactive load, beyond its own steps",
        Some(loss),
        "%",
        Goal::AtMost(1.0),
    );
    let jobs: HashSet<u64> = worker.log.since(first).iter().map(|seen| seen.seed).collect();
    report.note(format!(
        "steps/s: {} of bulk alone, {} of both; {} jobs took part",
        written(alone),
        written(mixed),
        jobs.len()
    ));
    worker.stop().await?;
    site.stop().await
}

/// Steps a second from the next one on.
async fn steps_in(worker: &Running, seconds: u64) -> anyhow::Result<f64> {
    let first = worker.log.len();
    worker.steps(first).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let seen: Vec<Seen> = worker.log.since(first);
    let (begin, end) = (seen.first().context("no step")?.began, seen.last().context("no step")?.ended);
    Ok(seen.len() as f64 / (end - begin).as_secs_f64())
}

pub(super) async fn flood(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let (site, worker) = full(10).await?;
    let mut urgent = HashSet::new();
    let jobs = sizes.seconds as usize + 2 * FLOOD;
    for _ in 0..jobs {
        urgent.insert(site.submit("interactive", STEPS, Value::Null).await?.1);
    }
    worker.steps(worker.log.len() + STEPS as usize).await?;
    let first = worker.log.len();
    tokio::time::sleep(Duration::from_secs(sizes.seconds)).await;
    let seen = worker.log.since(first);
    let bulk = seen.iter().filter(|seen| !urgent.contains(&seen.seed)).count();
    let share = 100.0 * bulk as f64 / seen.len().max(1) as f64;
    report.row(
        "steps of bulk under an endless interactive flood",
        Some(share),
        "%",
        Goal::Within { by: 1.0, of: 5.0 },
    );
    report.note(format!("flood: {bulk} of {} steps were of bulk jobs", seen.len()));
    worker.stop().await?;
    site.stop().await
}

fn random() -> u16 {
    uuid::Uuid::new_v4().as_u128() as u16
}
