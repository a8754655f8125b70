//! Keeps the objects that waiting jobs name: rules that delete by age must never delete them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uso_queue::{JobView, ListFilter, Queue, Source, State};
use uso_store::{Store, is_swept, upload_key};

/// Younger objects are left as they are: rules delete after days.
pub(crate) const YOUNG: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause between two rounds: several fit into the time that rules leave.
const ROUND: Duration = Duration::from_secs(4 * 60 * 60);
/// Pause after a round that failed.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// Jobs of one page.
const PAGE: usize = 500;
/// Objects that are kept at once.
const AT_ONCE: usize = 16;

/// Why objects that waiting jobs name may not have been kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The queue could not be read.
    #[error("queue: {0}")]
    Queue(#[from] uso_queue::Error),
    /// The store refused.
    #[error("store: {0}")]
    Store(#[from] uso_store::Error),
}

/// Makes the objects in the store's bucket young that waiting or running jobs name and that a rule would delete by age:
/// uploads and checkpoints. Returns how many objects the jobs name.
///
/// # Errors
/// [`KeepError`]: then you must not delete anything by age.
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

/// Keys in `bucket` that a job names and that rules delete by age.
fn named(job: &JobView, bucket: &str) -> Vec<String> {
    let sources = job.spec.content.iter().chain(&job.spec.styles);
    let sources = sources.filter_map(|source| swept_key(source, &job.tenant, bucket));
    sources.chain(job.checkpoint.iter().map(|checkpoint| checkpoint.key.clone())).collect()
}

/// The key of a reference in `bucket`, if rules delete it by age there.
pub(crate) fn swept_key(source: &Source, tenant: &str, bucket: &str) -> Option<String> {
    match source {
        Source::Upload { id, .. } => Some(upload_key(tenant, id)),
        Source::S3 { bucket: its, key } if its == bucket && is_swept(key) => Some(key.clone()),
        Source::S3 { .. } | Source::Web { .. } => None,
    }
}

/// Keeps these objects, round after round, until `stop`.
pub(crate) async fn keep_until(queue: &Queue, store: &Store, stop: CancellationToken) {
    let rounds = async {
        loop {
            let pause = match keep_what_is_named(queue, store).await {
                Ok(named) => {
                    tracing::debug!(named, "objects of waiting jobs are kept");
                    ROUND
                }
                Err(error) => {
                    tracing::warn!(%error, "objects of waiting jobs could not be kept; trying again later");
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
