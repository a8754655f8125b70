//! A chunk of checked rows is added to a data set.

use std::collections::BTreeMap;

use bytes::Bytes;
use uso_dataset::layout;
use uso_dataset::rows::{Chunk, Row};
use uso_dataset::run::ChunkEntry;
use uso_queue::{BatchId, FieldError, JobSpec};
use uso_store::hexadecimal_sha256;

use super::known::KnownRows;
use super::patience::Patience;
use crate::body::lines::JSON_LINES;
use crate::caller::Caller;
use crate::intake;
use crate::problem::Problem;
use crate::shared::Shared;

/// What became of rows that were to be added.
pub(super) enum Added {
    /// They are there; so many rows are there up to the last of them. Unless they are `fresh`, they were there before.
    Rows { rows: u64, fresh: bool },
    /// The data set has this other number of rows; nothing was added.
    Moved(u64),
    /// Something is wrong with some of them, by their lines; nothing was added.
    Bad(Vec<FieldError>),
}

/// The pointer of a row: its line, from 1.
pub(super) fn pointer(row: &Row) -> String {
    format!("/{}", row.line)
}

/// Checks what rows point to, and adds them behind the first `from` rows of a data set.
///
/// # Errors
/// That it cannot be found out or done now; it is safe to repeat.
pub(super) async fn add(
    shared: &Shared,
    caller: &Caller,
    batch: &BatchId,
    from: u64,
    mut rows: Vec<Row>,
) -> Result<Added, Problem> {
    let patience = Patience::new();
    let faults = check(shared, caller, &mut rows).await?;
    if !faults.is_empty() {
        return Ok(Added::Bad(faults));
    }
    let chunk = Chunk::from(rows);
    let new = NewChunk { text: Bytes::from(chunk.write()?), rows: chunk.rows() };
    let mut tried = false;
    loop {
        match place(shared, batch, from, &new).await {
            Err(refusal) if patience.allows(&refusal).await => tried = true,
            // What is there after a failure is most likely what the failed try has added.
            Ok(Added::Rows { rows, fresh }) => return Ok(Added::Rows { rows, fresh: fresh || tried }),
            placed => return placed,
        }
    }
}

/// A chunk that is to be added.
struct NewChunk<'a> {
    text: Bytes,
    rows: &'a [Row],
}

/// Adds a chunk behind the first `from` rows, unless it is there.
async fn place(shared: &Shared, batch: &BatchId, from: u64, new: &NewChunk<'_>) -> Result<Added, Problem> {
    let NewChunk { text, rows } = new;
    let known = shared.datasets.of(batch);
    let mut known = known.lock().await;
    let there = shared.queue.dataset(batch).await?.ok_or_else(Problem::no_such_dataset)?;
    known.refresh(&shared.queue, &shared.store, batch, &there).await?;
    let sha256 = hexadecimal_sha256(text);
    let after = from + rows.len() as u64;
    if known.rows() != from {
        // The answer to an earlier request may have been lost.
        let is_there = known.has(from, &sha256);
        let added = Added::Rows { rows: after, fresh: false };
        return Ok(if is_there { added } else { Added::Moved(known.rows()) });
    }
    let twice = keys_that_are_there(&known, rows);
    if !twice.is_empty() {
        return Ok(Added::Bad(twice));
    }
    let key = layout::chunk(batch, known.chunks(), &sha256);
    shared.store.put(&key, JSON_LINES, text.clone()).await?;
    let entry = ChunkEntry { rows: rows.len() as u64, sha256 };
    let told = serde_json::to_string(&entry).map_err(|error| Problem::internal(&error))?;
    let extended = shared.queue.extend_dataset(batch, from, after, &told).await?;
    extended.ok_or_else(Problem::no_such_dataset)?;
    // Another process may have added as many rows at the same time.
    let is_there = known.learn(&shared.queue, batch, &entry.sha256, rows).await?;
    let added = Added::Rows { rows: after, fresh: true };
    Ok(if is_there { added } else { Added::Moved(known.rows()) })
}

/// What is wrong with rows here, whatever the data set has: what they ask for, and what they point to.
///
/// # Errors
/// That it cannot be found out now.
pub(super) async fn check(
    shared: &Shared,
    caller: &Caller,
    rows: &mut [Row],
) -> Result<Vec<FieldError>, Problem> {
    let mut faults = unusable_here(rows);
    faults.extend(check_references(shared, caller, rows).await?);
    Ok(faults)
}

/// What a job may ask for but a row may not.
fn unusable_here(rows: &[Row]) -> Vec<FieldError> {
    let asking = rows.iter().filter(|row| row.job.webhook.is_some());
    asking
        .map(|row| FieldError {
            pointer: pointer(row) + "/webhook",
            code: "not_allowed",
            message: "rows of a data set have no webhooks; follow the batch".into(),
        })
        .collect()
}

async fn check_references(
    shared: &Shared,
    caller: &Caller,
    rows: &mut [Row],
) -> Result<Vec<FieldError>, Problem> {
    let mut jobs: Vec<JobSpec> = rows.iter().map(|row| row.job.clone()).collect();
    let prefix = |index: usize| rows.get(index).map(pointer).unwrap_or_default();
    let faults = intake::faults(shared, caller, &mut jobs, prefix, &BTreeMap::new()).await?;
    // They name what their uploads hold now.
    rows.iter_mut().zip(jobs).for_each(|(row, job)| row.job = job);
    Ok(faults)
}

fn keys_that_are_there(known: &KnownRows, rows: &[Row]) -> Vec<FieldError> {
    let there = rows.iter().filter(|row| known.has_key(&row.key));
    there
        .map(|row| FieldError {
            pointer: pointer(row) + "/key",
            code: "twice",
            message: format!("the data set has a row {} already", row.key),
        })
        .collect()
}
