//! Rows from the manifest to committed shards, beside the S3 requests that they take.

use std::time::Instant;

use anyhow::Context as _;
use uso_store::output_prefix;
use uso_worker::Settings;

use super::bare::{self, Load};
use super::batch;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::{self, Fleet, Running};

/// Workers in this process.
pub(super) const WORKERS: usize = 2;

/// Sides of pictures of noise of 64 KiB, 1.5 MiB and 1 KiB.
const SMALL_SIDE: u32 = 147;
const LARGE_SIDE: u32 = 724;

pub(super) const SMALL: Figure<Sizes> = Figure {
    name: "small-pictures",
    about: "Rows from end to end with small pictures, beside their S3 requests alone",
    rows: &[Row {
        name: |sizes| {
            format!("{} rows, 64 KiB pictures, 0.5 ms engine: against bare S3 requests", sizes.small)
        },
        unit: "times",
        goal: Goal::AtLeast(0.7),
    }],
    measure: |sizes| Box::pin(measure(sizes, sizes.small, SMALL_SIDE)),
};

pub(super) const LARGE: Figure<Sizes> = Figure {
    name: "large-pictures",
    about: "Rows from end to end with large pictures, beside their S3 requests alone",
    rows: &[Row {
        name: |sizes| {
            format!("{} rows, 1.5 MiB pictures, 0.5 ms engine: against bare S3 requests", sizes.large)
        },
        unit: "times",
        goal: Goal::AtLeast(0.7),
    }],
    measure: |sizes| Box::pin(measure(sizes, sizes.large, LARGE_SIDE)),
};

/// What an engine does that makes pictures of this side at once.
pub(super) fn script(side: u32) -> String {
    format!("step=500us,size={side}")
}

/// Starts workers, each with its own connections, as in processes of their own.
pub(super) async fn workers(fleet: &Fleet, endpoint: &str, script: &str) -> anyhow::Result<Vec<Running>> {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let queue = fleet::connect(&fleet.redis.url()).await?;
        let store = fleet.store(endpoint).await?;
        workers.push(fleet::worker(queue, store, script, Settings::default()).await?);
    }
    Ok(workers)
}

pub(super) async fn stop(workers: Vec<Running>) -> anyhow::Result<()> {
    for worker in workers {
        worker.stop().await?;
    }
    Ok(())
}

async fn measure(sizes: &Sizes, rows: u64, side: u32) -> anyhow::Result<Findings> {
    let (seconds, bytes, thumbnail) = make(sizes, rows, side).await?;
    let bare = bare_requests(Load { rows, bytes, thumbnail, shard: sizes.shard as usize }).await?;
    let rate = |seconds: f64| written(rows as f64 / seconds);
    let note = format!(
        "{rows} rows of {} KiB, rows/s: {} from end to end, {} bare",
        written(bytes as f64 / 1024.0),
        rate(seconds),
        rate(bare)
    );
    Ok(Findings::of([bare / seconds]).note(note))
}

/// Makes a data set; gives the seconds that it took, the mean bytes of a picture, and those of the first row's thumbnail.
async fn make(sizes: &Sizes, rows: u64, side: u32) -> anyhow::Result<(f64, u64, u64)> {
    let fleet = Fleet::start().await?;
    let store = fleet.store(&fleet.endpoint()).await?;
    let workers = workers(&fleet, &fleet.endpoint(), &script(side)).await?;
    let batch = batch::start(&fleet.queue, &store, sizes.shard, batch::alike(rows)).await?;
    let begun = Instant::now();
    batch::until_made(&fleet.queue, &batch).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let shards = fleet.queue.dataset_shards(&batch, 0, 1000).await?;
    let bytes = shards.iter().map(|shard| shard.bytes).sum::<u64>() / rows;
    // Nothing else stays of a row.
    let first = batch.job_of_row(0, 0).context("no such row")?;
    let thumbnail = store.list(&output_prefix(&first)).await?.first().context("no thumbnail")?.bytes;
    stop(workers).await?;
    fleet.stop().await?;
    Ok((seconds, bytes, thumbnail))
}

async fn bare_requests(load: Load) -> anyhow::Result<f64> {
    let fleet = Fleet::start().await?;
    let mut stores = Vec::new();
    for _ in 0..WORKERS {
        stores.push(fleet.store(&fleet.endpoint()).await?);
    }
    let seconds = bare::run(&stores, load).await?;
    fleet.stop().await?;
    Ok(seconds)
}
