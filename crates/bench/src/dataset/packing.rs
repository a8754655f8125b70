//! How fast pictures become a shard, beside a copy of them.

use std::time::Instant;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use uso_dataset::shards::{self, Shard};
use uso_dataset::{Outcome, layout};
use uso_queue::{BatchId, Output, Receipt, State};
use uso_store::{Store, output_key};

use super::sizes::Sizes;
use super::{bare, batch};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::fleet::{self, Fleet};
use crate::sides::Sides;

/// Bytes of a picture.
const BYTES: usize = 64 << 10;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "packing",
    about: "How fast pictures become a shard, beside a copy of them",
    rows: &[Row {
        name: |sizes| format!("packing of {} pictures of 64 KiB: against a copy of them", sizes.packed),
        unit: "times",
        goal: Goal::AtLeast(0.7),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let store = fleet.store(&fleet.endpoint()).await?;
    // Nobody works on it.
    let batch = batch::start(&fleet.queue, &store, 1, std::iter::empty()).await?;
    let outcomes = stage(&store, &batch, sizes.packed).await?;
    let text = outcomes.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?.join("\n");
    let segment = layout::segment(&batch, 0, 1);
    store.put(&segment, "application/x-ndjson", (text + "\n").into()).await?;
    let mut sides = Sides::default();
    for round in 0..sizes.rounds {
        let shard = Shard { batch, number: round as u32, segments: vec![segment.clone()], split: None };
        let begun = Instant::now();
        shards::prepare(&store, &shard).await?.context("no rows")?.complete(&store).await?;
        let rate =
            |begun: Instant| (sizes.packed as usize * BYTES) as f64 / 1e6 / begun.elapsed().as_secs_f64();
        sides.add("packed", rate(begun));
        let begun = Instant::now();
        copy(&store, &outcomes).await?;
        sides.add("copied", rate(begun));
    }
    fleet.stop().await?;
    Ok(Findings::of([sides.ratio("packed", "copied")]).note(sides.describe("pictures, MB/s")))
}

/// Puts pictures where workers put them.
async fn stage(store: &Store, batch: &BatchId, rows: u64) -> anyhow::Result<Vec<Outcome>> {
    let picture = bare::noise(BYTES);
    let staged = futures::stream::iter(0..rows).map(|row| {
        let picture = picture.clone();
        async move {
            let job = batch.job_of_row(row, 0).context("no such row")?;
            let stored = store.put(&output_key(&job, 1, "0.png"), "image/png", picture).await?;
            let output = Output {
                thumbnail: None,
                sidecar: stored.uri.clone(),
                uri: stored.uri,
                width: 64,
                height: 64,
                bytes: stored.bytes,
                sha256: stored.sha256,
                content_type: "image/png".into(),
                receipt: Receipt::default(),
            };
            anyhow::Ok(Outcome {
                row,
                key: format!("row-{row}"),
                job,
                state: State::Succeeded,
                spec: fleet::spec("bulk", 1, row, Value::Null)?,
                output: Some(output),
                error: None,
                attempt: 1,
                submitted_ms: 1,
                started_ms: Some(1),
                finished_ms: 1,
            })
        }
    });
    staged.buffered(bare::FETCHED).try_collect().await
}

/// Reads each picture and writes it elsewhere.
async fn copy(store: &Store, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let copied = futures::stream::iter(outcomes).map(|outcome| async move {
        let bytes = store.get(&output_key(&outcome.job, 1, "0.png")).await?;
        store.put(&format!("copies/{}", outcome.row), "image/png", bytes).await?;
        anyhow::Ok(())
    });
    copied.buffer_unordered(bare::FETCHED).try_collect().await
}
