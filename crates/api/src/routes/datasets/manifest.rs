//! The rows of a manifest that lies in the fleet's bucket go into a data set.

mod bad_rows;
mod beginning;
mod object;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{SemaphorePermit, mpsc};
use uso_dataset::Settings;
use uso_dataset::rows::{BadRow, Checker, Kind, Row};
use uso_queue::BatchId;

use super::request::WantedRows;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;
pub(super) use bad_rows::{BadRows, ListedRow};
use object::{FoundManifest, find, is_its_own, unreadable};
use rows::Rows;

/// Rows that go from the reading thread at once.
const BLOCK: usize = 500;
/// Such blocks that wait.
const BLOCKS: usize = 2;

/// A manifest that is about to be read.
pub(super) struct Begun<'a> {
    wanted: &'a WantedRows,
    found: FoundManifest,
    /// The right to read it.
    _permit: SemaphorePermit<'a>,
}

/// What became of the rows of a manifest that the data set does not have as they are.
pub(super) struct ReadRows {
    /// Those that were left out, or stay as they were.
    pub(super) bad: BadRows,
    /// How many were replaced.
    pub(super) replaced: u64,
}

/// Finds a manifest. If its data set is to be made, its first rows are checked before: what is refused leaves none behind.
///
/// # Errors
/// What is wrong with it, or that others are being read.
pub(super) async fn begin<'a>(
    shared: &'a Shared,
    caller: &Caller,
    wanted: &'a WantedRows,
    settings: &Settings,
) -> Result<Begun<'a>, Problem> {
    let mut found = find(shared, caller, &wanted.source).await?;
    let Some(permit) = shared.datasets.may_read() else {
        let problem =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_room", "other manifests are being read here");
        return Err(problem.later(Duration::from_secs(5)));
    };
    let there = shared.queue.datasets(&caller.tenant).await?;
    if there.iter().all(|(name, _)| *name != settings.name) {
        found = beginning::check(shared, caller, wanted, settings.split.clone(), found).await?;
    }
    Ok(Begun { wanted, found, _permit: permit })
}

/// Puts the rows of a manifest into a data set, behind those of it that are there, and starts it once all are there. Whoever waits no longer loses nothing: the same request goes on from there.
pub(super) async fn read(
    shared: &Arc<Shared>,
    caller: &Caller,
    batch: &BatchId,
    begun: Begun<'_>,
) -> Result<ReadRows, Problem> {
    let Begun { wanted, found, _permit } = begun;
    let dataset = shared.queue.dataset(batch).await?.ok_or_else(Problem::no_such_dataset)?;
    let split = Settings::read(&dataset.settings)?.split;
    let checker = wanted.checker(shared.config.defaults.clone(), split);
    let (sender, mut blocks) = mpsc::channel(BLOCKS);
    let (store, kind) = (shared.store.clone(), wanted.kind);
    let reading = tokio::task::spawn_blocking(move || read_blocks(&store, found, kind, checker, &sender));
    let mut rows = Rows::new(shared, caller, batch, wanted).await?;
    let before = rows.there();
    while let Some(block) = blocks.recv().await {
        for row in block {
            rows.take(row).await?;
        }
    }
    if let Err(error) = reading.await.map_err(|error| Problem::internal(&error))? {
        // Of a manifest that ends in the middle, or is another one now, nothing stays.
        if is_its_own(&error) {
            shared.queue.discard_rows(batch, before).await?;
        }
        return Err(unreadable(error));
    }
    let (bad, sealed, replaced) = rows.finish().await?;
    shared.queue.start_dataset(batch, sealed).await?.ok_or_else(Problem::no_such_dataset)?;
    Ok(ReadRows { bad, replaced })
}

/// Reads and checks all rows; ends early if nobody takes them.
fn read_blocks(
    store: &uso_store::Store,
    mut found: FoundManifest,
    kind: Kind,
    mut checker: Checker,
    sender: &mpsc::Sender<Vec<Result<Row, BadRow>>>,
) -> Result<(), uso_dataset::Error> {
    let manifest = found.open(store, kind)?;
    let mut block = Vec::with_capacity(BLOCK);
    for row in manifest.rows {
        let row = row.map_err(|error| manifest.fault.or(error))?;
        block.push(row.and_then(|row| checker.check(row)));
        if block.len() == BLOCK && sender.blocking_send(std::mem::take(&mut block)).is_err() {
            return Ok(());
        }
    }
    // Nobody may wait for the last ones.
    let _ = sender.blocking_send(block);
    Ok(())
}
