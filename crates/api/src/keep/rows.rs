//! What rows of data sets name that are not queued yet.

use std::collections::BTreeSet;

use uso_dataset::rows::Row;
use uso_dataset::run::Chunks;
use uso_queue::{BatchId, DatasetView, Queue};
use uso_store::Store;

use super::objects::{KeepError, Kept, keep_all, swept_key};

/// Rows whose marks one call to the queue asks for.
const PAGE: u64 = 100_000;

/// Keeps what rows name that are to be queued, a chunk at a time. Of a data set that was canceled nothing is.
pub(super) async fn keep(queue: &Queue, store: &Store, kept: &mut Kept) -> Result<(), KeepError> {
    for (tenant, id) in queue.all_datasets().await? {
        let (batch, dataset) = (queue.batch(&id).await?, queue.dataset(&id).await?);
        let Some((batch, dataset)) = batch.zip(dataset) else { continue };
        // Rows that were replaced are queued again with the next start, although the cursor has passed them.
        if !batch.canceled && (dataset.cursor < dataset.rows || dataset.changes > 0) {
            keep_chunks(queue, store, (&tenant, &id), &dataset, kept).await?;
        }
    }
    Ok(())
}

/// Keeps what the chunks name that have rows to be queued.
async fn keep_chunks(
    queue: &Queue,
    store: &Store,
    (tenant, id): (&str, &BatchId),
    dataset: &DatasetView,
    kept: &mut Kept,
) -> Result<(), KeepError> {
    let mut chunks = Chunks::default();
    chunks.refresh(queue, id).await?;
    let mut wanted = marked(queue, id, dataset, &chunks).await?;
    wanted.extend(chunks.of_row(dataset.cursor).unwrap_or(chunks.len())..chunks.len());
    for number in wanted {
        let rows = chunks.fetch(store, id, number).await?;
        let named = rows.iter().flat_map(|row| named(row, tenant, &store.config().bucket));
        let new: Vec<String> = named.filter(|key| kept.is_new(key)).collect();
        keep_all(store, new).await?;
    }
    Ok(())
}

/// The chunks with rows before the cursor that are marked: they are queued in the next pass.
async fn marked(
    queue: &Queue,
    id: &BatchId,
    dataset: &DatasetView,
    chunks: &Chunks,
) -> Result<BTreeSet<usize>, KeepError> {
    let mut found = BTreeSet::new();
    let mut first = 0;
    while dataset.changes > 0 && first < dataset.cursor {
        let page = PAGE.min(dataset.cursor - first);
        let marks = queue.row_marks(id, first, page).await?;
        let marked = (first..).zip(marks).filter(|(_, is_marked)| *is_marked);
        found.extend(marked.filter_map(|(row, _)| chunks.of_row(row)));
        first += page;
    }
    Ok(found)
}

/// Keys in `bucket` that a row names and that rules delete by age.
fn named<'a>(row: &'a Row, tenant: &'a str, bucket: &'a str) -> impl Iterator<Item = String> + 'a {
    let sources = row.job.content.iter().chain(&row.job.styles);
    sources.filter_map(move |source| swept_key(source, tenant, bucket))
}
