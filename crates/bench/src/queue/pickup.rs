//! How long a job waits for a worker that has nothing else to do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::runtime::Runtime;
use uso_queue::{Class, Renewer, WorkerId};

use super::enqueue::add_command;
use super::payload::{output, spec};
use super::setup::Setup;
use super::task::Task;
use crate::figure::{Figure, Findings, Goal, Row};
use crate::fleet::connect;
use crate::resp::{Answer, Resp};
use crate::sides::{Sides, quantile};

/// As a worker looks without any wake-up.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for one job.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const FIGURE: Figure<Setup> = Figure {
    name: "pickup",
    about: "How long a job waits for an idle worker",
    rows: &[
        Row {
            name: |_| "idle pick-up, p50 against blocked XREADGROUP".into(),
            unit: "times",
            goal: Goal::AtMost(3.0),
        },
        Row { name: |_| "idle pick-up, p99 beyond p50".into(), unit: "ms", goal: Goal::AtMost(2.0) },
    ],
    measure: |setup| Box::pin(measure(setup)),
};

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    let samples = setup.sizes.pickups;
    let (mut half, mut most) = (Sides::default(), Sides::default());
    for _ in 0..setup.sizes.rounds {
        for (name, task) in [("uso", Task::Pickup { samples }), ("XREADGROUP", Task::RawPickup { samples })] {
            setup.server.empty().await?;
            let waits: Vec<f64> = setup.ask(&setup.server, &task).await?;
            half.add(name, quantile(&waits, 0.5));
            most.add(name, quantile(&waits, 0.99));
        }
    }
    let beyond = most.median("uso").zip(half.median("uso")).map(|(most, half)| most - half);
    Ok(Findings::of([half.ratio("uso", "XREADGROUP"), beyond])
        .note(half.describe("idle pick-up p50, ms"))
        .note(most.describe("idle pick-up p99, ms")))
}

/// Our side, in milliseconds: from before the submission until the claim has returned.
pub(super) fn ours(runtime: &Runtime, url: &str, samples: usize) -> anyhow::Result<Vec<f64>> {
    let queue = runtime.block_on(connect(url))?;
    let job = spec(Class::Interactive)?;
    let (sender, claimed) = channel();
    let (url, ready) = (url.to_owned(), channel());
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(wait_for_jobs(&url, samples, &sender, &ready.0))
    });
    ready.1.recv_timeout(PATIENCE).context("the worker is not ready")?;
    let submit = || runtime.block_on(queue.submit("tenant", &job)).map(|_| ()).map_err(Into::into);
    sample(samples, submit, &claimed, worker)
}

/// A worker that is idle whenever a job comes.
async fn wait_for_jobs(
    url: &str,
    samples: usize,
    claimed: &Sender<Instant>,
    ready: &Sender<()>,
) -> anyhow::Result<()> {
    let (queue, worker) = (connect(url).await?, WorkerId::new());
    let (mut wakeups, renewer) = (queue.wakeups(), Renewer::start(&queue));
    ready.send(())?;
    for _ in 0..samples {
        let lease = loop {
            match queue.claim_one(&worker).await? {
                Some(lease) => break lease,
                None => wakeups.wait(LOOK).await,
            }
        };
        claimed.send(Instant::now())?;
        let _keeper = renewer.keep(&lease);
        lease.complete(&output()).await?;
    }
    renewer.stop().await;
    Ok(())
}

/// The least that Redis needs for the same: one reader that waits in the stream's group.
pub(super) fn raw(url: &str, samples: usize) -> anyhow::Result<Vec<f64>> {
    let (mut producer, mut reader) = (Resp::connect(url)?, Resp::connect(url)?);
    producer.call(&["XGROUP", "CREATE", "jobs", "workers", "0", "MKSTREAM"])?;
    let one = add_command(Class::Interactive)?;
    let (sender, claimed) = channel();
    let worker = std::thread::spawn(move || {
        for _ in 0..samples {
            let read =
                ["XREADGROUP", "GROUP", "workers", "w", "COUNT", "1", "BLOCK", "0", "STREAMS", "jobs", ">"];
            let answer = reader.call(&read)?;
            sender.send(Instant::now())?;
            reader.call(&["XACK", "jobs", "workers", &entry(&answer)?])?;
        }
        anyhow::Ok(())
    });
    let add = || producer.send(&one).and_then(|()| producer.receive()).map(|_| ());
    sample(samples, add, &claimed, worker)
}

/// Submits jobs at uneven moments, and tells how long each was on its way.
fn sample(
    samples: usize,
    mut submit: impl FnMut() -> anyhow::Result<()>,
    claimed: &Receiver<Instant>,
    worker: JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<Vec<f64>> {
    let mut waits = Vec::with_capacity(samples);
    for i in 0..samples as u64 {
        std::thread::sleep(Duration::from_millis(20 + i * 7919 % 20));
        let begun = Instant::now();
        submit()?;
        let at = claimed.recv_timeout(PATIENCE).context("nobody took a job")?;
        waits.push((at - begun).as_secs_f64() * 1e3);
    }
    worker.join().map_err(|_| anyhow!("the worker's thread panicked"))??;
    Ok(waits)
}

/// The id of the one entry in an answer of XREADGROUP.
fn entry(answer: &Answer) -> anyhow::Result<String> {
    fn first(answer: &Answer, place: usize) -> Option<&Answer> {
        if let Answer::List(list) = answer { list.get(place) } else { None }
    }
    let entries = first(answer, 0).and_then(|stream| first(stream, 1));
    match entries.and_then(|entries| first(first(entries, 0)?, 0)) {
        Some(Answer::Text(id)) => Ok(String::from_utf8(id.clone())?),
        _ => Err(anyhow!("no entry was read")),
    }
}
