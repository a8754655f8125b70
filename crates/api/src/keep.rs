//! What waiting jobs name in the bucket is kept by use: rules that delete by age must never take it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uso_queue::{JobView, ListFilter, Queue, Source, State};
use uso_store::{Store, is_swept, upload_key};

/// What is younger is left as it is: rules delete after days.
pub(crate) const YOUNG: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause between two rounds: several fit into the time that rules leave.
const ROUND: Duration = Duration::from_secs(4 * 60 * 60);
/// Pause after a round that failed.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// Jobs of one page.
const PAGE: usize = 500;
/// Objects that are kept at once.
const AT_ONCE: usize = 16;

/// Why what waiting jobs name may not have been kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The queue did not say what there is.
    #[error("queue: {0}")]
    Queue(#[from] uso_queue::Error),
    /// The store did not take it.
    #[error("store: {0}")]
    Store(#[from] uso_store::Error),
}

/// Makes everything young that jobs which wait or run name in the store's bucket and that a rule would delete by
/// its age: uploads and half-drawn pictures. Gives how many objects they name.
///
/// # Errors
/// [`KeepError`]: nothing must be deleted by age then.
pub async fn keep_what_is_named(queue: &Queue, store: &Store) -> Result<usize, KeepError> {
    let mut keys = BTreeSet::new();
    for state in [State::Running, State::Queued] {
        let mut filter = ListFilter { state: Some(state), enough: PAGE, ..ListFilter::default() };
        loop {
            let page = queue.list(&filter).await?;
            keys.extend(page.jobs.iter().flat_map(|job| named(job, &store.config().bucket)));
            filter.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
    }
    let count = keys.len();
    let kept = stream::iter(keys).map(|key| async move { store.keep(&key, YOUNG).await });
    let mut kept = std::pin::pin!(kept.buffer_unordered(AT_ONCE));
    while let Some(kept) = kept.next().await {
        kept?;
    }
    Ok(count)
}

/// Keys in `bucket` that a job names and that are swept by age.
fn named(job: &JobView, bucket: &str) -> Vec<String> {
    let sources = job.spec.content.iter().chain(&job.spec.styles);
    let sources = sources.filter_map(|source| swept_key(source, &job.tenant, bucket));
    sources.chain(job.checkpoint.iter().map(|checkpoint| checkpoint.key.clone())).collect()
}

/// Where a reference lies in `bucket`, if it is swept by its age there.
pub(crate) fn swept_key(source: &Source, tenant: &str, bucket: &str) -> Option<String> {
    match source {
        Source::Upload { id, .. } => Some(upload_key(tenant, id)),
        Source::S3 { bucket: its, key } if its == bucket && is_swept(key) => Some(key.clone()),
        Source::S3 { .. } | Source::Web { .. } => None,
    }
}

/// Keeps what is named, round after round, until `stop`.
pub(crate) async fn keep_until(queue: &Queue, store: &Store, stop: CancellationToken) {
    let rounds = async {
        loop {
            let pause = match keep_what_is_named(queue, store).await {
                Ok(named) => {
                    tracing::debug!(named, "what waiting jobs name is kept");
                    ROUND
                }
                Err(error) => {
                    tracing::warn!(%error, "what waiting jobs name could not be kept; it is tried again");
                    AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        never = rounds => never,
    }
}
