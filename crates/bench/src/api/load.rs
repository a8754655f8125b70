//! Submissions over HTTP beside the same number of calls of the queue's library.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use serde_json::Value;

use super::http::Connection;
use super::process::Process;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::{Fleet, TENANT, spec};
use crate::sides::{Sides, quantile};

/// Connections, and calls at once.
const AT_ONCE: usize = 64;
const BODY: &str =
    r#"{"prompt":"a red star at the left on a green field","class":"bulk","steps":25,"seed":1}"#;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "load",
    about: "Submissions over HTTP beside calls of the library",
    rows: &[
        Row {
            name: |_| "submissions/s with 64 connections, against 64 calls of the library".into(),
            unit: "times",
            goal: Goal::AtLeast(0.4),
        },
        Row { name: |_| "API processor time a submission".into(), unit: "us", goal: Goal::AtMost(150.0) },
        Row { name: |_| "submit latency at half load, p99".into(), unit: "ms", goal: Goal::AtMost(20.0) },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let api = Process::start(&fleet).await?;
    let time = Duration::from_secs(sizes.seconds);
    let (mut sides, mut costs) = (Sides::default(), Vec::new());
    for _ in 0..sizes.rounds {
        fleet.redis.empty().await?;
        fleet.queue.migrate().await?;
        sides.add("library", library(&fleet, time).await?);
        let before = api.processor_time()?;
        let rate = http(&api, time, None).await?.len() as f64 / time.as_secs_f64();
        sides.add("http", rate);
        costs.push((api.processor_time()? - before).as_secs_f64() * 1e6 / (rate * time.as_secs_f64()));
    }
    let half = sides.median("http").unwrap_or_default() / 2.0;
    let latencies = http(&api, time, Some(half)).await?;
    drop(api);
    fleet.stop().await?;
    let median = quantile(&latencies, 0.5).map_or_else(String::new, written);
    let (cost, latency) = (quantile(&costs, 0.5), quantile(&latencies, 0.99));
    Ok(Findings::of([sides.ratio("http", "library"), cost, latency])
        .note(sides.describe("submissions/s"))
        .note(format!("half load: {}/s, p50 {median} ms", written(half))))
}

/// Submissions a second by the library.
async fn library(fleet: &Fleet, time: Duration) -> anyhow::Result<f64> {
    let (spec, count, begun) = (spec("bulk", 25, 1, Value::Null)?, AtomicU64::new(0), Instant::now());
    let caller = || async {
        while begun.elapsed() < time {
            fleet.queue.submit(TENANT, &spec).await?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    try_join_all((0..AT_ONCE).map(|_| caller())).await?;
    Ok(count.into_inner() as f64 / begun.elapsed().as_secs_f64())
}

/// Milliseconds of each submission over HTTP: as many as there can be, or so many a second, counted from
/// when each was due.
async fn http(api: &Process, time: Duration, rate: Option<f64>) -> anyhow::Result<Vec<f64>> {
    let connections = try_join_all((0..AT_ONCE).map(|_| Connection::open(&api.address))).await?;
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let caller = |mut connection: Connection| {
        let next = &next;
        async move {
            let mut latencies = Vec::new();
            while begun.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = rate.map(|rate| begun + Duration::from_secs_f64(number as f64 / rate));
                if let Some(due) = due {
                    tokio::time::sleep_until(due.into()).await;
                }
                let sent = due.unwrap_or_else(Instant::now);
                let (status, _) = connection.ask("POST", "/v1/jobs", BODY).await?;
                ensure!(status == 202, "a submission was answered with {status}");
                latencies.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(latencies)
        }
    };
    Ok(try_join_all(connections.into_iter().map(caller)).await?.concat())
}
