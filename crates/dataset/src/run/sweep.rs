//! What lost processes left is removed.

use std::time::Duration;

use uso_queue::{BatchId, DatasetTask, DatasetView, Queue};
use uso_store::Store;

use super::term::TERM;
use super::{index, segments};
use crate::shards::{self, Known};
use crate::{Error, layout};

/// What is younger may be of a process that does not know yet that it has lost its task.
const AGE: Duration = Duration::from_secs(3 * TERM.as_secs());

/// Removes objects and uploads of a data set that the queue does not know, once all of its shards are committed.
pub(super) async fn sweep(
    queue: &Queue,
    store: &Store,
    task: &DatasetTask,
    view: &DatasetView,
) -> Result<(), Error> {
    let segments = match view.segments.checked_sub(1) {
        Some(last) => segments::keys(queue, &task.batch, 0, last).await?,
        None => Vec::new(),
    };
    let known = Known {
        shards: (0..view.shards).collect(),
        segments: segments.into_iter().collect(),
        indexes: index::keys(queue, &task.batch, view.rows).await?.into_iter().collect(),
        ..Known::default()
    };
    let orphans = shards::find_orphans(store, &task.batch, &known, AGE).await?;
    let (objects, uploads) = (orphans.objects.len(), orphans.uploads.len());
    if objects + uploads > 0 {
        tracing::info!(batch = %task.batch, objects, uploads, "removes what lost processes left");
    }
    shards::remove_orphans(store, &orphans).await
}

/// Ends uploads of a shard that others began: whoever calls has the task, so theirs must not go on.
pub(super) async fn end_uploads(store: &Store, batch: &BatchId, number: u32) -> Result<(), Error> {
    let key = layout::dataset(batch) + &layout::shard(number);
    for found in store.unfinished_uploads(&key).await? {
        store.abort_upload(&found.upload).await?;
    }
    Ok(())
}
