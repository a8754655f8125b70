//! Which rows a data set has, as far as this process knows: so that a chunk finds its place and no key comes twice.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures::{StreamExt, TryStreamExt, stream};
use lru::LruCache;
use tokio::sync::{Semaphore, SemaphorePermit};
use uso_dataset::Error;
use uso_dataset::rows::Row;
use uso_dataset::run::Chunks;
use uso_queue::{BatchId, DatasetView, Queue};
use uso_store::Store;

use super::place::no_such_row;
use crate::problem::Problem;

/// Data sets that this process remembers: those that get rows now, or whose keys are sought. A million rows take some
/// 40 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

/// Manifests that are read at once.
const MANIFESTS: usize = 2;

/// Chunks that are fetched at once.
const AT_ONCE: usize = 8;

/// How long one request for a key goes on to read chunks: it asks again then, for the rest.
const FOR_A_KEY: Duration = Duration::from_secs(2);

/// The rows of the data sets that get rows now.
pub(crate) struct KnownDatasets {
    known: Mutex<LruCache<BatchId, Arc<tokio::sync::Mutex<KnownRows>>>>,
    /// For those who read a manifest.
    manifests: Semaphore,
}

/// The rows of one data set. Rows keep their keys, so what is known of keys stays true until rows are dropped.
#[derive(Default)]
pub(crate) struct KnownRows {
    chunks: Chunks,
    /// How often chunks had been replaced by then.
    changes: u64,
    /// How often rows had been dropped by then.
    discards: u64,
    /// Chunks whose keys are known.
    read: usize,
    hasher: RandomState,
    /// Hashes of the keys. That two of a million different keys have the same one happens once in 37 million data sets;
    /// then a row is refused wrongly.
    /// Each has the number of its row.
    keys: HashMap<u64, u32>,
}

/// The row that has a key, perhaps.
///
/// # Errors
/// `no_such_row`; `keys_not_read` while there are more keys than one request reads; that it cannot be found out now.
pub(super) async fn row_of_key(
    datasets: &KnownDatasets,
    queue: &Queue,
    store: &Store,
    batch: &BatchId,
    key: &str,
) -> Result<u64, Problem> {
    let known = datasets.of(batch);
    let mut known = known.lock().await;
    let there = queue.dataset(batch).await?.ok_or_else(Problem::no_such_dataset)?;
    known.look(queue, batch, &there).await?;
    let (hash, end) = (known.hasher.hash_one(key), Instant::now() + FOR_A_KEY);
    known.read_keys(store, batch, |keys| keys.contains_key(&hash) || Instant::now() >= end).await?;
    match known.keys.get(&hash) {
        Some(row) => Ok(u64::from(*row)),
        None if known.read < known.chunks.len() => {
            let detail = format!("{} of {} keys were read so far; ask again", known.keys.len(), there.rows);
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "keys_not_read", detail);
            Err(problem.later(Duration::from_secs(1)))
        }
        None => Err(no_such_row(format!("the data set has no row {key}"))),
    }
}

impl KnownDatasets {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::new(LruCache::new(REMEMBERED)), manifests: Semaphore::new(MANIFESTS) }
    }

    /// What is known of a data set; locked by whoever adds rows to it here.
    pub(crate) fn of(&self, batch: &BatchId) -> Arc<tokio::sync::Mutex<KnownRows>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.get_or_insert(*batch, Arc::default))
    }

    /// The right to read a manifest, which takes memory for each of its rows; none if others have it.
    pub(crate) fn may_read(&self) -> Option<SemaphorePermit<'_>> {
        self.manifests.try_acquire().ok()
    }
}

impl KnownRows {
    /// Learns of chunks that came or were replaced since the last time, of a data set of which this is known.
    pub(crate) async fn refresh(
        &mut self,
        queue: &Queue,
        store: &Store,
        batch: &BatchId,
        view: &DatasetView,
    ) -> Result<(), Error> {
        self.look(queue, batch, view).await?;
        self.read_keys(store, batch, |_| false).await
    }

    /// Learns which chunks there are now.
    async fn look(&mut self, queue: &Queue, batch: &BatchId, view: &DatasetView) -> Result<(), Error> {
        // Rows were dropped, or a Redis that took over lost the newest ones.
        if self.discards != view.discards || self.chunks.rows() > view.rows {
            *self = Self { discards: view.discards, ..Self::default() };
        }
        if self.changes != view.changes {
            (self.chunks, self.changes) = (Chunks::default(), view.changes);
        }
        self.chunks.refresh(queue, batch).await
    }

    /// Reads the keys of chunks that are not known yet, one after another, until it `is_enough`.
    async fn read_keys(
        &mut self,
        store: &Store,
        batch: &BatchId,
        is_enough: impl Fn(&HashMap<u64, u32>) -> bool,
    ) -> Result<(), Error> {
        let (chunks, new) = (&self.chunks, self.read..self.chunks.len());
        let mut fetched =
            stream::iter(new).map(|number| chunks.fetch_keys(store, batch, number)).buffered(AT_ONCE);
        while !is_enough(&self.keys)
            && let Some(keys) = fetched.try_next().await?
        {
            let first = chunks.get(self.read).map_or(0, |(first, _)| *first);
            self.keys.extend(numbered(&self.hasher, first, keys.iter().map(String::as_str)));
            self.read += 1;
        }
        Ok(())
    }

    /// Learns of a chunk whose rows are at hand, if it is the next one; gives whether it is.
    pub(crate) async fn learn(
        &mut self,
        queue: &Queue,
        batch: &BatchId,
        sha256: &str,
        rows: &[Row],
    ) -> Result<bool, Error> {
        let number = self.chunks.len();
        self.chunks.refresh(queue, batch).await?;
        let Some((first, _)) = self.chunks.get(number).filter(|(_, entry)| entry.sha256 == sha256) else {
            return Ok(false);
        };
        if self.read == number {
            self.keys.extend(numbered(&self.hasher, *first, rows.iter().map(|row| row.key.as_str())));
            self.read += 1;
        }
        Ok(true)
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.chunks.rows()
    }

    /// How many chunks there are.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// The number of a chunk's first row, if there is such a chunk.
    pub(crate) fn first_row(&self, chunk: usize) -> Option<u64> {
        self.chunks.get(chunk).map(|(first, _)| *first)
    }

    /// Whether the chunk that begins with this row has this digest.
    pub(crate) fn has(&self, first: u64, sha256: &str) -> bool {
        let found = self.chunks.of_row(first).and_then(|number| self.chunks.get(number));
        found.is_some_and(|(begins, entry)| *begins == first && entry.sha256 == sha256)
    }

    /// Whether a row has this key.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.keys.contains_key(&self.hasher.hash_one(key))
    }

    /// The rows of a chunk; none behind the last.
    pub(crate) async fn fetch(
        &self,
        store: &Store,
        batch: &BatchId,
        number: usize,
    ) -> Result<Vec<Row>, Error> {
        self.chunks.fetch(store, batch, number).await
    }
}

/// Hashes of the keys of rows, each with the number of its row.
fn numbered<'a>(
    hasher: &'a RandomState,
    first: u64,
    keys: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = (u64, u32)> {
    let number = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    (first..).map(number).zip(keys).map(|(number, key)| (hasher.hash_one(key), number))
}
