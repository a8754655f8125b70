//! Many workers on one Redis.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use serde_json::Value;
use uso_queue::EventKind;
use uso_worker::Settings;

use super::Sizes;
use super::s3;
use crate::commands::bench::report::{Goal, Report, written};
use crate::commands::bench::site::{self, Site};

const STEPS: u32 = 100;
/// Four steps a second.
const SCRIPT: &str = "step=250ms";
const SECONDS_A_JOB: u64 = 25;

pub(super) async fn measure(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start().await?;
    let nowhere = s3::bottomless().await?;
    let rounds = sizes.crowd_seconds / SECONDS_A_JOB + 3;
    for _ in 0..sizes.crowd as u64 * rounds {
        site.submit("bulk", STEPS, Value::Null).await?;
    }
    let workers = (0..sizes.crowd).map(|_| async {
        // Each has its own connections, as in processes of their own.
        let queue = site::connect(&site.server.url()).await?;
        let store = site.store(&nowhere.endpoint()).await?;
        site::worker(queue, store, SCRIPT, Settings::default()).await
    });
    let workers = try_join_all(workers).await?;
    try_join_all(workers.iter().map(|worker| worker.steps(0))).await?;

    let mut resp = site.server.resp()?;
    let mut tail = site.queue.tail(0, None).await?;
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

    let who = format!("{} workers, 4 steps/s each", sizes.crowd);
    report.row(format!("{who}: Redis"), Some(100.0 * busy / seconds), "% core", Goal::AtMost(35.0));
    let hourly = file as f64 / seconds * 3600.0 / 1e9;
    report.row(format!("{who}: append-only file"), Some(hourly), "GB/h", Goal::AtMost(5.0));
    let figure = format!("{who}: leases lost in {} s", sizes.crowd_seconds);
    report.row(figure, Some(f64::from(lost)), "leases", Goal::AtMost(0.0));
    report.note(format!(
        "crowd: {} steps/s, {} reported/s, {} bytes of file a step",
        written(done as f64 / seconds),
        written(f64::from(told) / seconds),
        written(file as f64 / done.max(1) as f64)
    ));
    try_join_all(workers.into_iter().map(|worker| worker.stop())).await?;
    site.stop().await
}
