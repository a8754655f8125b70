//! A data set that is made: its rows go in, and it is waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use uso_dataset::rows::{Checker, Chunk, Options, RawRow};
use uso_dataset::run::ChunkEntry;
use uso_dataset::shards::{self, Expected, Place};
use uso_dataset::{Settings, layout};
use uso_queue::{BatchId, Budget, DatasetView, Defaults, NewDataset, Queue};
use uso_store::{Store, hexadecimal_sha256};

use crate::fleet::TENANT;

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest time in which nothing happens to it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A row that asks for one step of a picture of its own.
pub(super) fn row(number: u64) -> Map<String, Value> {
    fields(json!({ "prompt": "a red star", "steps": 1, "seed": number, "width": 64, "height": 64 }))
}

/// A row's fields.
pub(super) fn fields(row: Value) -> Map<String, Value> {
    match row {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Makes a data set of these rows and lets them be queued.
pub(super) async fn start(
    queue: &Queue,
    store: &Store,
    shard_rows: u32,
    rows: impl IntoIterator<Item = RawRow>,
) -> anyhow::Result<BatchId> {
    let settings = serde_json::to_string(&Settings { shard_rows, ..Settings::default() })?;
    let name = format!("bench-{}", fastrand::u64(..));
    let new =
        NewDataset { name: &name, settings: &settings, metadata: &Value::Null, budget: Budget::default() };
    let batch = queue.create_dataset(TENANT, &new).await?.id;
    let mut checker = Checker::new(Defaults::default(), Options::default());
    let (mut chunk, mut chunks, mut added) = (Chunk::default(), 0, 0);
    let mut rows = rows.into_iter().peekable();
    while let Some(raw) = rows.next() {
        chunk.push(checker.check(raw).map_err(|bad| anyhow::anyhow!("{bad}"))?);
        if chunk.is_full() || rows.peek().is_none() {
            added = add(queue, store, &batch, &std::mem::take(&mut chunk), chunks, added).await?;
            chunks += 1;
        }
    }
    queue.start_dataset(&batch, added).await?;
    Ok(batch)
}

/// Adds a chunk; gives the rows after it.
async fn add(
    queue: &Queue,
    store: &Store,
    batch: &BatchId,
    chunk: &Chunk,
    number: u64,
    before: u64,
) -> anyhow::Result<u64> {
    let text = chunk.write()?;
    let entry = ChunkEntry { rows: chunk.rows().len() as u64, sha256: hexadecimal_sha256(&text) };
    let key = layout::chunk(batch, number, &entry.sha256);
    store.put(&key, "application/x-ndjson", text.into()).await?;
    let after = before + entry.rows;
    let rows = queue.extend_dataset(batch, before, after, &serde_json::to_string(&entry)?).await?;
    ensure!(rows == Some(after), "a chunk was not added: {rows:?}");
    Ok(after)
}

/// Numbered rows that are alike.
pub(super) fn alike(rows: u64) -> impl Iterator<Item = RawRow> {
    (0..rows).map(|number| RawRow { line: number + 1, fields: row(number), labels: Map::new() })
}

/// What is known of it now.
pub(super) async fn look(queue: &Queue, batch: &BatchId) -> anyhow::Result<DatasetView> {
    queue.dataset(batch).await?.context("a data set is gone")
}

/// Rows of it that have ended.
pub(super) fn settled(view: &DatasetView) -> u64 {
    view.archived + view.waiting
}

/// Waits until so many rows have ended.
pub(super) async fn until_settled(queue: &Queue, batch: &BatchId, rows: u64) -> anyhow::Result<DatasetView> {
    until(queue, batch, |view| settled(view) >= rows).await
}

/// Waits until all its rows are in shards that the index tells of.
pub(super) async fn until_made(queue: &Queue, batch: &BatchId) -> anyhow::Result<DatasetView> {
    let made = |view: &DatasetView| {
        view.archived >= view.rows
            && view.open_rows == 0
            && view.packed == view.shards
            && view.described == view.packed
    };
    until(queue, batch, made).await
}

/// Waits for anything, for as long as something happens. Redis may be away meanwhile.
async fn until(
    queue: &Queue,
    batch: &BatchId,
    reached: impl Fn(&DatasetView) -> bool,
) -> anyhow::Result<DatasetView> {
    let (mut last, mut since) = (None, std::time::Instant::now());
    loop {
        if let Ok(view) = look(queue, batch).await {
            if reached(&view) {
                return Ok(view);
            }
            if last.as_ref() != Some(&view) {
                (last, since) = (Some(view), std::time::Instant::now());
            }
        }
        ensure!(since.elapsed() < PATIENCE, "a data set does not get on: {last:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is wrong with a data set that should have rows from 0 to `rows`.
pub(super) async fn findings(store: &Store, batch: &BatchId, rows: u64) -> anyhow::Result<Vec<String>> {
    let place = Place::of_batch(store.clone(), batch);
    let expected = Expected::Rows((0..rows).collect::<BTreeSet<_>>());
    let found = shards::verify(&place, &expected, |_| {}).await?;
    Ok(found.iter().map(|finding| format!("{finding:?}")).collect())
}
