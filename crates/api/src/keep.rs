//! Keeps the objects that waiting jobs and rows name: rules that delete by age must never delete them.

mod objects;
mod rows;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uso_queue::{JobView, ListFilter, Queue, State};
use uso_store::Store;

pub use objects::KeepError;
use objects::{Kept, keep_all};
pub(crate) use objects::{YOUNG, swept_key};

/// Pause between two rounds: several fit into the time that rules leave.
const ROUND: Duration = Duration::from_secs(4 * 60 * 60);
/// Pause after a round that failed.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// Jobs of one page.
const PAGE: usize = 500;

/// Makes the objects in the store's bucket young that waiting or running jobs name, or rows of data sets that are not
/// queued yet, and that a rule would delete by age: uploads and checkpoints. Returns how many objects are named.
///
/// # Errors
/// [`KeepError`]: then you must not delete anything by age.
pub async fn keep_what_is_named(queue: &Queue, store: &Store) -> Result<usize, KeepError> {
    let mut kept = Kept::new();
    // In this order: a row that is queued meanwhile is among the jobs.
    rows::keep(queue, store, &mut kept).await?;
    for state in [State::Running, State::Queued] {
        let mut filter = ListFilter { state: Some(state), enough: PAGE, ..ListFilter::default() };
        loop {
            let page = queue.list(&filter).await?;
            let named = page.jobs.iter().flat_map(|job| named(job, &store.config().bucket));
            let new: Vec<String> = named.filter(|key| kept.is_new(key)).collect();
            keep_all(store, new).await?;
            filter.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
    }
    Ok(kept.count())
}

/// Keys in `bucket` that a job names and that rules delete by age.
fn named(job: &JobView, bucket: &str) -> Vec<String> {
    let sources = job.spec.content.iter().chain(&job.spec.styles);
    let sources = sources.filter_map(|source| swept_key(source, &job.tenant, bucket));
    sources.chain(job.checkpoint.iter().map(|checkpoint| checkpoint.key.clone())).collect()
}

/// Keeps these objects, round after round, until `stop`.
pub(crate) async fn keep_until(queue: &Queue, store: &Store, stop: CancellationToken) {
    let rounds = async {
        loop {
            let pause = match keep_what_is_named(queue, store).await {
                Ok(named) => {
                    tracing::debug!(named, "objects of waiting jobs and rows are kept");
                    ROUND
                }
                Err(error) => {
                    tracing::warn!(%error, "objects of waiting jobs and rows could not be kept; trying again later");
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
