//! Deletes old uploads and checkpoints from our own S3 folder: a folder has no lifecycle rules.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uso_api::keep_what_is_named;
use uso_queue::Queue;
use uso_store::Store;

/// How long uploads and checkpoints are kept that no job names.
const KEPT: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// Pause between two sweeps.
const SWEEP_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Until `stop`, deletes old uploads and checkpoints that no job names.
pub(super) async fn sweep(queue: Queue, store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sweep_once(&queue, &store) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_AGAIN) => {}
        }
    }
}

async fn sweep_once(queue: &Queue, store: &Store) {
    if let Err(error) = keep_what_is_named(queue, store).await {
        tracing::warn!(%error, "nothing old is deleted: it is not known what waiting jobs name");
        return;
    }
    for prefix in ["uploads/", "checkpoints/"] {
        match store.delete_older(prefix, KEPT).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(prefix, count, "deleted what nobody can want any more"),
            Err(error) => tracing::warn!(%error, prefix, "what is old could not be deleted"),
        }
    }
}
