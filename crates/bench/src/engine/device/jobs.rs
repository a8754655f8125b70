//! Jobs of the bundled model through a queue and the step scheduler: how much of its time the device waits.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tokio::time::timeout;
use uso_engine::device::precision;
use uso_engine::{ModelFiles, Observed, Uso, device};
use uso_worker::Activity;

use super::sizes::Sizes;
use super::table::{Checked, Row};
use crate::fleet::{Fleet, worker_of};
use crate::steps::StepLog;

/// Steps of a job: those of the bundled model's defaults.
const STEPS: u32 = 10;
/// Most idle time, in per cent.
const MOST_IDLE: f64 = 10.0;

pub(super) async fn check(device: &str, sizes: &Sizes, left: Duration) -> Checked {
    ensure!(!left.is_zero(), "the time was over");
    match timeout(left, Box::pin(run(device, sizes))).await {
        Ok(rows) => rows,
        Err(_) => anyhow::bail!("the time was over before it ended"),
    }
}

async fn run(name: &str, sizes: &Sizes) -> Checked {
    let count = sizes.jobs;
    let fleet = Fleet::start().await?;
    let size = json!({ "width": 64, "height": 64 });
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.push(fleet.submit("bulk", STEPS, size.clone()).await?.0);
    }
    let (name, log) = (name.to_owned(), StepLog::default());
    let observer = log.clone();
    let load = move || {
        let device = device::open(&name)?;
        let dtype = precision(None, &device)?;
        Ok(Observed::new(Uso::load(&ModelFiles::Bundled, &device, dtype)?, observer.clone()))
    };
    let store = fleet.store(&fleet.endpoint()).await?;
    let worker = worker_of(fleet.queue.clone(), store, load, log).await?;
    // Loading is no idle time.
    worker.steps(0).await?;
    let busy = [Activity::Encode, Activity::Step, Activity::Preview, Activity::Checkpoint, Activity::Decode];
    let spent = || {
        let busy: Duration = busy.iter().map(|activity| worker.clock.spent(*activity)).sum();
        (worker.clock.spent(Activity::Idle), busy)
    };
    let (idle_before, busy_before) = spent();
    let mut failed = 0;
    for job in &jobs {
        failed += usize::from(fleet.ended(job).await?.output.is_none());
    }
    let (idle, busy) = spent();
    let (idle, busy) = ((idle - idle_before).as_secs_f64(), (busy - busy_before).as_secs_f64());
    let steps = worker.log.len();
    worker.stop().await?;
    fleet.stop().await?;
    let share = 100.0 * idle / (idle + busy).max(f64::MIN_POSITIVE);
    let note = format!("{steps} steps; {busy:.1} s busy, {idle:.2} s idle; bundled model, 64x64");
    let waits = Row::new("device idle meanwhile", share, "%").note(note);
    let waits = if sizes.judged { waits.most(MOST_IDLE) } else { waits };
    let lost = Row::new(format!("{count} jobs of {STEPS} steps: without a picture"), failed as f64, "jobs");
    Ok(vec![lost.most(0.0), waits])
}
