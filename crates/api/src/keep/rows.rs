//! What rows of data sets name that are not queued yet.

use uso_dataset::rows::Row;
use uso_dataset::run::Chunks;
use uso_queue::{BatchId, Queue};
use uso_store::Store;

use super::objects::{KeepError, Kept, keep_all, swept_key};

/// Keeps what rows name that are to be queued, a chunk at a time. Of a data set that was canceled nothing is.
pub(super) async fn keep(queue: &Queue, store: &Store, kept: &mut Kept) -> Result<(), KeepError> {
    for (tenant, id) in queue.all_datasets().await? {
        let (batch, dataset) = (queue.batch(&id).await?, queue.dataset(&id).await?);
        let Some((batch, dataset)) = batch.zip(dataset) else { continue };
        if !batch.canceled && dataset.cursor < dataset.rows {
            keep_from(queue, store, (&tenant, &id), dataset.cursor, kept).await?;
        }
    }
    Ok(())
}

/// Keeps what the chunks from that of this row on name.
async fn keep_from(
    queue: &Queue,
    store: &Store,
    (tenant, id): (&str, &BatchId),
    row: u64,
    kept: &mut Kept,
) -> Result<(), KeepError> {
    let mut chunks = Chunks::default();
    chunks.refresh(queue, id).await?;
    for number in chunks.of_row(row).unwrap_or(chunks.len())..chunks.len() {
        let rows = chunks.fetch(store, id, number).await?;
        let named = rows.iter().flat_map(|row| named(row, tenant, &store.config().bucket));
        let new: Vec<String> = named.filter(|key| kept.is_new(key)).collect();
        keep_all(store, new).await?;
    }
    Ok(())
}

/// Keys in `bucket` that a row names and that rules delete by age.
fn named<'a>(row: &'a Row, tenant: &'a str, bucket: &'a str) -> impl Iterator<Item = String> + 'a {
    let sources = row.job.content.iter().chain(&row.job.styles);
    sources.filter_map(move |source| swept_key(source, tenant, bucket))
}
