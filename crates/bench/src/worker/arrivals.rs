//! Interactive jobs that come while the device is full of bulk work.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::{Fleet, Running};
use crate::sides::quantile;
use crate::steps::Step;

const SCRIPT: &str = "step=40ms";
const STEP_MS: f64 = 40.0;
const STEPS: u32 = 25;
/// Interactive jobs that wait during a flood.
const WAITING: usize = 20;

/// A worker that is full of bulk work.
async fn full(seconds: u64) -> anyhow::Result<(Fleet, Running)> {
    let fleet = Fleet::start().await?;
    let jobs = seconds as usize + 10;
    for _ in 0..jobs {
        fleet.submit("bulk", STEPS, Value::Null).await?;
    }
    let worker = fleet.worker(fleet.store(&fleet.endpoint()).await?, SCRIPT).await?;
    worker.steps(STEPS as usize).await?;
    Ok((fleet, worker))
}

pub(super) const INTERACTIVE: Figure<Sizes> = Figure {
    name: "interactive",
    about: "How soon an interactive job begins under bulk load",
    rows: &[Row {
        name: |sizes| {
            format!(
                "submit to first step of an interactive job under bulk load, p99 of {}",
                sizes.interactive
            )
        },
        unit: "ms",
        goal: Goal::AtMost(STEP_MS + 15.0),
    }],
    measure: |sizes| Box::pin(latency(sizes)),
};

pub(super) const MIXED: Figure<Sizes> = Figure {
    name: "mixed",
    about: "What interactive jobs cost bulk work beside their steps",
    rows: &[Row {
        name: |_| "bulk throughput lost to 10 % interactive load, beyond its own steps".into(),
        unit: "%",
        goal: Goal::AtMost(1.0),
    }],
    measure: |sizes| Box::pin(mixed(sizes)),
};

pub(super) const FLOOD: Figure<Sizes> = Figure {
    name: "flood",
    about: "What bulk work gets under an endless flood of interactive jobs",
    rows: &[Row {
        name: |_| "steps of bulk under an endless interactive flood".into(),
        unit: "%",
        goal: Goal::Within { by: 1.0, of: 5.0 },
    }],
    measure: |sizes| Box::pin(flood(sizes)),
};

async fn latency(sizes: &Sizes) -> anyhow::Result<Findings> {
    // Each takes its own step, and a pause of 120 ms on average.
    let (fleet, worker) = full(sizes.interactive as u64 / 3).await?;
    let mut waits = Vec::new();
    for _ in 0..sizes.interactive {
        tokio::time::sleep(Duration::from_millis(20 + fastrand::u64(..200))).await;
        let before = worker.log.len();
        let (_, seed) = fleet.submit("interactive", 1, Value::Null).await?;
        let accepted = Instant::now();
        let began = first_step(&worker, before, seed).await?;
        waits.push(began.saturating_duration_since(accepted).as_secs_f64() * 1e3);
    }
    worker.stop().await?;
    fleet.stop().await?;
    let at = |q| quantile(&waits, q).map_or_else(String::new, written);
    let note = format!("submit to first step, ms: p50 {}, p90 {}, longest {}", at(0.5), at(0.9), at(1.0));
    Ok(Findings::of([quantile(&waits, 0.99)]).note(note))
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

async fn mixed(sizes: &Sizes) -> anyhow::Result<Findings> {
    let (fleet, worker) = full(2 * sizes.seconds + 10).await?;
    let alone = steps_in(&worker, sizes.seconds).await?;
    // One job of a second every ten, on average.
    let arrivals = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5_000 + fastrand::u64(..10_000))).await;
            if let Err(error) = fleet.submit("interactive", STEPS, Value::Null).await {
                return error;
            }
        }
    };
    let (first, mixed) = (worker.log.len(), steps_in(&worker, sizes.seconds));
    let mixed = tokio::select! { mixed = mixed => mixed?, error = arrivals => return Err(error) };
    let loss = 100.0 * (1.0 - mixed / alone);
    let jobs: HashSet<u64> = worker.log.since(first).iter().map(|seen| seen.seed).collect();
    worker.stop().await?;
    fleet.stop().await?;
    Ok(Findings::of([loss]).note(format!(
        "steps/s: {} of bulk alone, {} of both; {} jobs took part",
        written(alone),
        written(mixed),
        jobs.len()
    )))
}

/// Steps a second from the next one on.
async fn steps_in(worker: &Running, seconds: u64) -> anyhow::Result<f64> {
    let first = worker.log.len();
    worker.steps(first).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let seen: Vec<Step> = worker.log.since(first);
    let (begin, end) = (seen.first().context("no step")?.began, seen.last().context("no step")?.ended);
    Ok(seen.len() as f64 / (end - begin).as_secs_f64())
}

async fn flood(sizes: &Sizes) -> anyhow::Result<Findings> {
    let (fleet, worker) = full(10).await?;
    let mut urgent = HashSet::new();
    let jobs = sizes.seconds as usize + 2 * WAITING;
    for _ in 0..jobs {
        urgent.insert(fleet.submit("interactive", STEPS, Value::Null).await?.1);
    }
    worker.steps(worker.log.len() + STEPS as usize).await?;
    let first = worker.log.len();
    tokio::time::sleep(Duration::from_secs(sizes.seconds)).await;
    let seen = worker.log.since(first);
    let bulk = seen.iter().filter(|seen| !urgent.contains(&seen.seed)).count();
    let share = 100.0 * bulk as f64 / seen.len().max(1) as f64;
    worker.stop().await?;
    fleet.stop().await?;
    Ok(Findings::of([share]).note(format!("flood: {bulk} of {} steps were of bulk jobs", seen.len())))
}
