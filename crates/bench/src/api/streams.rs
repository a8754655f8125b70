//! Many open event streams.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use serde_json::Value;
use tokio::sync::mpsc;
use uso_queue::{Renewer, WorkerId};

use super::http::Connection;
use super::process::Process;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::Fleet;
use crate::sides::quantile;

/// Streams that are opened at once: a listener's backlog is short.
const AT_ONCE: usize = 50;
/// Pause between two events.
const PAUSE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "streams",
    about: "Many open event streams",
    rows: &[
        Row {
            name: |sizes| format!("memory of each of {} streams", sizes.streams),
            unit: "KiB",
            goal: Goal::AtMost(64.0),
        },
        Row { name: |_| "Redis connections for them".into(), unit: "more", goal: Goal::AtMost(1.0) },
        Row {
            name: |sizes| format!("event written to bytes at the last of {} readers, p99", sizes.streams),
            unit: "ms",
            goal: Goal::AtMost(100.0),
        },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let api = Process::start(&fleet).await?;
    let (job, _) = fleet.submit("interactive", 100, Value::Null).await?;
    let lease = fleet.queue.claim_one(&WorkerId::new()).await?.context("no job")?;
    let renewer = Renewer::start(&fleet.queue);
    let _keeper = renewer.keep(&lease);
    // What the first stream makes the process have is not counted to the others.
    let path = format!("/v1/jobs/{job}/events");
    let _first = listen(&api, &path).await?;
    let mut resp = fleet.redis.resp()?;
    let (memory, clients): (u64, u64) = (api.memory()?, resp.info("clients", "connected_clients")?);

    let mut streams = Vec::new();
    while streams.len() < sizes.streams {
        let more = AT_ONCE.min(sizes.streams - streams.len());
        streams.extend(try_join_all((0..more).map(|_| listen(&api, &path))).await?);
    }
    let each = api.memory()?.saturating_sub(memory) as f64 / 1024.0 / sizes.streams as f64;
    let clients = resp.info::<u64>("clients", "connected_clients")?.saturating_sub(clients);

    let (heard, mut arrivals) = mpsc::unbounded_channel();
    let readers: Vec<_> =
        streams.into_iter().map(|stream| tokio::spawn(read(stream, heard.clone()))).collect();
    let mut waits = Vec::new();
    for event in 0..sizes.events {
        let written = Instant::now();
        lease.progress(event as u32 % 100 + 1, 100).await?;
        for _ in 0..readers.len() {
            let arrived = tokio::time::timeout(PATIENCE, arrivals.recv()).await;
            arrived.context("an event did not arrive")?.context("the readers ended")?;
        }
        waits.push(written.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    readers.iter().for_each(|reader| reader.abort());
    renewer.stop().await;
    lease.release().await?;
    drop(api);
    fleet.stop().await?;
    let at = |q| quantile(&waits, q).map_or_else(String::new, written);
    Ok(Findings::of([Some(each), Some(clients as f64), quantile(&waits, 0.99)]).note(format!(
        "event to last reader, ms: p50 {}, longest {}",
        at(0.5),
        at(1.0)
    )))
}

async fn listen(api: &Process, path: &str) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(&api.address).await?;
    connection.listen(path).await?;
    Ok(connection)
}

/// Tells of each step that arrives.
async fn read(mut stream: Connection, heard: mpsc::UnboundedSender<()>) -> anyhow::Result<()> {
    loop {
        if stream.line().await?.starts_with("event: progress") && heard.send(()).is_err() {
            return Ok(());
        }
    }
}
