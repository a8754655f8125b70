//! The outcome of one row among any number of segments.

use uso_queue::{Queue, RowId};
use uso_store::Store;

use super::{index, segments};
use crate::{Error, Outcome};

/// The outcome of a row's job, if it is in a segment. That takes a bounded number of requests, however many segments there
/// are: by the index, and by looking through the few segments that are in no index yet. Where that is all of them, for a
/// version before has made them, it has a worker make the index.
///
/// # Errors
/// [`Error::Queue`], [`Error::Store`], or [`Error::Unreadable`].
pub async fn find_outcome(queue: &Queue, store: &Store, row: &RowId) -> Result<Option<Outcome>, Error> {
    let Some(job) = row.batch.job_of_row(row.row, row.pass) else { return Ok(None) };
    let Some(view) = queue.dataset(&row.batch).await? else { return Ok(None) };
    if row.row >= view.queued_once || row.pass > view.pass {
        return Ok(None);
    }
    if view.segments >= view.indexed + index::EVERY
        && let Err(error) = queue.look_after_dataset(&row.batch).await
    {
        tracing::debug!(batch = %row.batch, %error, "nobody was told that an index is missing");
    }
    if view.indexed > 0
        && let Some(number) = index::find(queue, store, row).await?
        && let Some(segment) = queue.dataset_segments(&row.batch, number, 1).await?.pop()
    {
        let outcomes = segments::read(store, &row.batch, number, &segment).await?;
        return Ok(outcomes.into_iter().find(|outcome| outcome.job == job));
    }
    for (number, segment) in segments::all(queue, &row.batch, view.indexed).await? {
        if !(segment.lowest..=segment.highest).contains(&row.row) {
            continue;
        }
        let outcomes = segments::read(store, &row.batch, number, &segment).await?;
        if let Some(found) = outcomes.into_iter().find(|outcome| outcome.job == job) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
