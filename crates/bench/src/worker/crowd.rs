//! Many workers on one Redis.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use serde_json::Value;
use uso_queue::EventKind;
use uso_worker::Settings;

use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::{self, Fleet};
use crate::s3;

const STEPS: u32 = 100;
/// Four steps a second.
const SCRIPT: &str = "step=250ms";
const SECONDS_A_JOB: u64 = 25;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "crowd",
    about: "Many workers on one Redis",
    rows: &[
        Row { name: |sizes| name(sizes, "Redis"), unit: "% core", goal: Goal::AtMost(35.0) },
        Row { name: |sizes| name(sizes, "append-only file"), unit: "GB/h", goal: Goal::AtMost(5.0) },
        Row {
            name: |sizes| name(sizes, &format!("leases lost in {} s", sizes.crowd_seconds)),
            unit: "leases",
            goal: Goal::AtMost(0.0),
        },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

fn name(sizes: &Sizes, what: &str) -> String {
    format!("{} workers, 4 steps/s each: {what}", sizes.crowd)
}

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let nowhere = s3::bottomless().await?;
    let rounds = sizes.crowd_seconds / SECONDS_A_JOB + 3;
    for _ in 0..sizes.crowd as u64 * rounds {
        fleet.submit("bulk", STEPS, Value::Null).await?;
    }
    let workers = (0..sizes.crowd).map(|_| async {
        // Each has its own connections, as in processes of their own.
        let queue = fleet::connect(&fleet.redis.url()).await?;
        let store = fleet.store(&nowhere.endpoint()).await?;
        fleet::worker(queue, store, SCRIPT, Settings::default()).await
    });
    let workers = try_join_all(workers).await?;
    try_join_all(workers.iter().map(|worker| worker.steps(0))).await?;

    let mut resp = fleet.redis.resp()?;
    let mut tail = fleet.queue.tail(0, None).await?;
    let steps = || workers.iter().map(|worker| worker.log.len()).sum::<usize>();
    let (begun, busy, file, done) = (
        Instant::now(),
        resp.processor_time()?,
        resp.info::<u64>("persistence", "aof_current_size")?,
        steps(),
    );
    let (mut lost, mut told) = (0_u32, 0_u32);
    while begun.elapsed() < Duration::from_secs(sizes.crowd_seconds) {
        for event in tail.next().await? {
            told += u32::from(matches!(event.kind, EventKind::Progress { .. }));
            lost += u32::from(event.name() == "requeued");
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let busy = (resp.processor_time()? - busy).as_secs_f64();
    let file = resp.info::<u64>("persistence", "aof_current_size")?.checked_sub(file);
    let file = file.context("the append-only file was written anew")?;
    let done = steps() - done;

    try_join_all(workers.into_iter().map(|worker| worker.stop())).await?;
    fleet.stop().await?;

    let core = 100.0 * busy / seconds;
    let hourly = file as f64 / seconds * 3600.0 / 1e9;
    Ok(Findings::of([core, hourly, f64::from(lost)]).note(format!(
        "crowd: {} steps/s, {} reported/s, {} bytes of file a step",
        written(done as f64 / seconds),
        written(f64::from(told) / seconds),
        written(file as f64 / done.max(1) as f64)
    )))
}
