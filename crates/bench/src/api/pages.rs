//! How soon the page shows something useful to a tenant with many jobs.
//!
//! It takes a browser to tell, which `ops/bench/paint.py` drives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;
use uso_engine::EXAMPLE_PICTURES;
use uso_queue::{Claim, Keeper, Lease, MAX_JOBS, Output, Receipt, Renewer, Submission, WorkerId};
use uso_store::{PictureKind, Store, output_key};

use super::process::Process;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row};
use crate::fleet::{Fleet, TENANT, spec};
use crate::sides::Sides;

const SCRIPT: &str = "ops/bench/paint.py";
/// Of 10,000 jobs, those that have not ended.
const WAITING: usize = 200;
const SAMPLED: usize = 4;
const DONE: usize = 10_000 - WAITING - SAMPLED;
/// More than a page of the gallery shows: of fewer, a browser would fetch one for several tiles.
const PICTURES: usize = 64;
/// Jobs that are ended at once.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(600);

/// Milliseconds from the start of each navigation.
#[derive(Deserialize)]
struct Paints {
    gallery_ms: Vec<f64>,
    queue_ms: Vec<f64>,
}

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "pages",
    about: "How soon a page shows something",
    rows: &[
        Row {
            name: |_| "pages with 10,000 jobs: first useful paint".into(),
            unit: "s",
            goal: Goal::AtMost(1.0),
        },
        Row {
            name: |_| "gallery with 10,000 jobs: first useful paint".into(),
            unit: "s",
            goal: Goal::AtMost(1.0),
        },
        Row {
            name: |_| "queue with 10,000 jobs: first useful paint".into(),
            unit: "s",
            goal: Goal::AtMost(1.0),
        },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let mut sides = Sides::default();
    // Looked for before anything is filled: many machines have no browser.
    match python() {
        Some(python) => {
            for (name, times) in paints(&python, sizes.rounds).await? {
                times.iter().for_each(|time| sides.add(name, time / 1e3));
            }
        }
        None => tracing::warn!("left out: ops/test-page.sh has not set up a browser's driver here"),
    }
    let (gallery, queue) = (sides.median("gallery"), sides.median("queue"));
    let slower = gallery.zip(queue).map(|(gallery, queue)| gallery.max(queue));
    Ok(Findings::of([slower, gallery, queue]).note(sides.describe("first useful paint, s")))
}

/// What drives the browser, where it and the script are.
fn python() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let python = target.join("page-tools/bin/python");
    (python.is_file() && Path::new(SCRIPT).is_file()).then_some(python)
}

/// The times of both views, or none of either if the browser cannot be had.
async fn paints(python: &Path, rounds: usize) -> anyhow::Result<Vec<(&'static str, Vec<f64>)>> {
    let fleet = Fleet::start().await?;
    finish(&fleet).await?;
    let renewer = Renewer::start(&fleet.queue);
    let held = hold(&fleet, &renewer).await?;
    let api = Process::start(&fleet).await?;
    let looked = look(python, &api.address, rounds).await;
    drop(api);
    renewer.stop().await;
    for (lease, _) in held {
        lease.release().await?;
    }
    fleet.stop().await?;
    match looked {
        Ok(Paints { gallery_ms, queue_ms }) => Ok(vec![("gallery", gallery_ms), ("queue", queue_ms)]),
        Err(error) => {
            tracing::warn!("left out: {error:#}");
            Ok(Vec::new())
        }
    }
}

/// Jobs that have ended with a picture.
async fn finish(fleet: &Fleet) -> anyhow::Result<()> {
    submit(fleet, DONE).await?;
    let outputs = outputs(&fleet.store(&fleet.endpoint()).await?).await?;
    let (worker, mut done) = (WorkerId::new(), 0);
    while done < DONE {
        let leases = claim(fleet, &worker, AT_ONCE).await?;
        ensure!(!leases.is_empty(), "{done} of {DONE} jobs came");
        let ends = leases.iter().zip(done..).map(|(lease, nth)| lease.complete(&outputs[nth % PICTURES]));
        done += try_join_all(ends).await?.len();
    }
    Ok(())
}

/// Jobs that wait, and some that are sampled for as long as they are kept.
async fn hold(fleet: &Fleet, renewer: &Renewer) -> anyhow::Result<Vec<(Lease, Keeper)>> {
    submit(fleet, WAITING + SAMPLED).await?;
    let mut held = Vec::new();
    for lease in claim(fleet, &WorkerId::new(), SAMPLED).await? {
        let keeper = renewer.keep(&lease);
        lease.progress(10, 25).await?;
        held.push((lease, keeper));
    }
    Ok(held)
}

async fn submit(fleet: &Fleet, jobs: usize) -> anyhow::Result<()> {
    let specs: Vec<_> =
        (0..jobs as u64).map(|seed| spec("bulk", 25, seed, Value::Null)).collect::<anyhow::Result<_>>()?;
    for some in specs.chunks(MAX_JOBS) {
        let jobs: Vec<Submission> = some.iter().map(Submission::from).collect();
        fleet.queue.submit_all(TENANT, &jobs).await?;
    }
    Ok(())
}

async fn claim(fleet: &Fleet, worker: &WorkerId, count: usize) -> anyhow::Result<Vec<Lease>> {
    let claim = Claim { count, ..Claim::one(worker) };
    Ok(fleet.queue.claim(&claim).await?)
}

/// What the jobs end with: one picture under many names.
async fn outputs(store: &Store) -> anyhow::Result<Vec<Output>> {
    let (_, picture) = EXAMPLE_PICTURES.first().context("there is no picture")?;
    let (width, height) = PictureKind::Png.size(picture).context("the picture cannot be read")?;
    let output = |nth: usize| async move {
        let stored =
            store.put(&output_key(&"bench", nth as u64, "0.png"), "image/png", (*picture).into()).await?;
        anyhow::Ok(Output {
            sidecar: stored.uri.clone(),
            thumbnail: None,
            uri: stored.uri,
            width,
            height,
            bytes: stored.bytes,
            sha256: stored.sha256,
            content_type: "image/png".into(),
            receipt: Receipt::default(),
            scores: None,
        })
    };
    try_join_all((0..PICTURES).map(output)).await
}

/// Has the browser look at the pages.
async fn look(python: &Path, address: &str, rounds: usize) -> anyhow::Result<Paints> {
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(format!("http://{address}")).arg(rounds.to_string()).kill_on_drop(true);
    let output =
        tokio::time::timeout(PATIENCE, command.output()).await.context("the browser does not end")?;
    let output = output.context("cannot start the browser's driver")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{SCRIPT}: {}", complaint.lines().last().unwrap_or_default());
    serde_json::from_slice(&output.stdout).with_context(|| format!("{SCRIPT} says something else"))
}
