//! In which segments the outcomes of rows are: without that, whoever asks for one row would read all segments.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use uso_queue::{BatchId, DatasetTask, DatasetView, Queue, RowId};
use uso_store::{Error as StoreError, Store};

use super::segments;
use crate::{Error, layout};

/// Segments after which the index is written anew: what is behind it is looked through. The queue counts on this number.
pub(super) const EVERY: u64 = 16;

/// Rows of a bucket, each of which has an index of its own: so little is written for rows that end together.
const BUCKET_ROWS: u64 = 10_000;

/// Objects that are read at once.
const AT_ONCE: usize = 4;

/// For each row of a bucket that has ended, its passes and the segments of their outcomes.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct RowIndex {
    rows: BTreeMap<u64, Vec<(u8, u64)>>,
}

impl RowIndex {
    fn add(&mut self, row: u64, pass: u8, segment: u64) {
        let passes = self.rows.entry(row).or_default();
        if !passes.iter().any(|(of, _)| *of == pass) {
            passes.push((pass, segment));
        }
    }

    fn segment(&self, row: u64, pass: u8) -> Option<u64> {
        self.rows.get(&row)?.iter().find(|(of, _)| *of == pass).map(|(_, segment)| *segment)
    }
}

/// Brings the index of a data set with so many `segments` up to date: now and then, and once it `is_last`. Gives whether the
/// task is still this process's.
pub(super) async fn keep_up(
    queue: &Queue,
    store: &Store,
    task: &DatasetTask,
    view: &DatasetView,
    segments: u64,
    is_last: bool,
) -> Result<bool, Error> {
    let to = segments.min(view.indexed + EVERY);
    if to < view.indexed + EVERY && !(is_last && to > view.indexed) {
        return Ok(true);
    }
    extend(queue, store, task, view.indexed, to).await
}

/// Adds the segments from `from` to `to` (not included) to the index. Gives whether the task is still this process's.
async fn extend(queue: &Queue, store: &Store, task: &DatasetTask, from: u64, to: u64) -> Result<bool, Error> {
    let batch = &task.batch;
    let found = queue.dataset_segments(batch, from, to - from).await?;
    let read = stream::iter((from..).zip(found)).map(async |(number, segment)| {
        Ok::<_, Error>((number, segments::read(store, batch, number, &segment).await?))
    });
    let mut read = std::pin::pin!(read.buffered(AT_ONCE));
    let mut buckets: BTreeMap<u64, RowIndex> = BTreeMap::new();
    while let Some((number, outcomes)) = read.try_next().await? {
        for RowId { row, pass, .. } in outcomes.iter().filter_map(|outcome| outcome.job.row()) {
            buckets.entry(row / BUCKET_ROWS).or_default().add(row, pass, number);
        }
    }
    let (mut names, mut old) = (Vec::new(), Vec::new());
    for (bucket, new) in buckets {
        let name = format!("{to:06}-{}", task.fence);
        let before = queue.dataset_index(batch, bucket).await?.filter(|before| *before != name);
        let mut index = match &before {
            Some(before) => read_index(store, &layout::row_index(batch, bucket, before)).await?,
            None => RowIndex::default(),
        };
        for (row, passes) in new.rows {
            passes.into_iter().for_each(|(pass, segment)| index.add(row, pass, segment));
        }
        put(store, &layout::row_index(batch, bucket, &name), &index).await?;
        old.extend(before.map(|before| layout::row_index(batch, bucket, &before)));
        names.push((bucket, name));
    }
    if !task.indexed(from, to, &names).await? {
        return Ok(false);
    }
    // What is left here is swept in the end.
    if let Err(error) = store.delete_many(&old).await {
        tracing::debug!(%batch, %error, "an index of before stays for now");
    }
    Ok(true)
}

/// The segment that has the outcome of a row's job, by the index alone.
pub(super) async fn find(queue: &Queue, store: &Store, row: &RowId) -> Result<Option<u64>, Error> {
    let index = index_of(queue, store, &row.batch, row.row).await?;
    Ok(index.and_then(|index| index.segment(row.row, row.pass)))
}

/// The segment that has the last outcome of a row, as far as the index tells: of those that are in no index yet, one may have
/// a later one.
///
/// # Errors
/// [`Error::Queue`], [`Error::Store`], or [`Error::Unreadable`].
pub async fn find_segment(
    queue: &Queue,
    store: &Store,
    batch: &BatchId,
    row: u64,
) -> Result<Option<u64>, Error> {
    let index = index_of(queue, store, batch, row).await?;
    Ok(index.and_then(|index| index.rows.get(&row)?.iter().max().map(|(_, segment)| *segment)))
}

/// The index of the bucket that a row is in.
async fn index_of(
    queue: &Queue,
    store: &Store,
    batch: &BatchId,
    row: u64,
) -> Result<Option<RowIndex>, Error> {
    let bucket = row / BUCKET_ROWS;
    let mut last = None;
    loop {
        let Some(name) = queue.dataset_index(batch, bucket).await? else { return Ok(None) };
        match read_index(store, &layout::row_index(batch, bucket, &name)).await {
            // Another one has taken its place this moment.
            Err(Error::Store(StoreError::Missing { .. })) if last.as_ref() != Some(&name) => {
                last = Some(name)
            }
            read => return read.map(Some),
        }
    }
}

/// Names of all parts of the index that the queue knows, of a batch of so many rows.
pub(super) async fn keys(queue: &Queue, batch: &BatchId, rows: u64) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    for bucket in 0..rows.div_ceil(BUCKET_ROWS) {
        let name = queue.dataset_index(batch, bucket).await?;
        keys.extend(name.map(|name| layout::row_index(batch, bucket, &name)));
    }
    Ok(keys)
}

async fn read_index(store: &Store, key: &str) -> Result<RowIndex, Error> {
    let text = store.get(key).await?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::Unreadable { object: key.to_owned(), reason: error.to_string() })
}

async fn put(store: &Store, key: &str, index: &RowIndex) -> Result<(), Error> {
    let text = serde_json::to_vec(index)
        .map_err(|error| Error::Unreadable { object: key.to_owned(), reason: error.to_string() })?;
    store.put(key, "application/json", text.into()).await?;
    Ok(())
}
