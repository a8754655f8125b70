//! A batch as the API answers it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{BatchId, BatchView, DatasetView, JobId, Queue};

use super::datasets::reasons::{self, Reasons};
use super::datasets::view::Dataset;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;

/// A batch that has been accepted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AcceptedBatch {
    pub(super) id: BatchId,
    pub(super) links: BatchLinks,
    /// Its jobs, in the order of the request.
    pub(super) jobs: Vec<JobId>,
}

/// Everything about a batch.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Batch {
    #[serde(flatten)]
    view: BatchView,
    /// What a data set has beside; null for other batches.
    dataset: Option<Dataset>,
    links: BatchLinks,
}

/// Links to everything about a batch.
#[derive(Serialize, JsonSchema)]
pub(super) struct BatchLinks {
    /// The batch itself.
    #[serde(rename = "self")]
    this: String,
    /// The events of its jobs.
    events: String,
    /// Its jobs, a page at a time.
    jobs: String,
    /// Cancels its jobs.
    cancel: String,
    /// Pauses it.
    pause: String,
    /// Resumes it.
    resume: String,
    /// Retries its failed jobs.
    retry_failed: String,
}

impl BatchLinks {
    pub(super) fn new(id: &BatchId) -> Self {
        let under = |name: &str| format!("/v1/batches/{id}/{name}");
        Self {
            this: format!("/v1/batches/{id}"),
            events: under("events"),
            jobs: format!("/v1/jobs?batch={id}"),
            cancel: under("cancel"),
            pause: under("pause"),
            resume: under("resume"),
            retry_failed: under("retry-failed"),
        }
    }
}

/// The caller's batch with this id; for another tenant's the answer is the same as for none.
pub(super) async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<BatchView, Problem> {
    let id: BatchId = id.parse().map_err(|_| Problem::no_such_batch())?;
    let view = shared.queue.batch(&id).await?;
    view.filter(|view| view.tenant == caller.tenant).ok_or_else(Problem::no_such_batch)
}

/// The caller's data set with this id.
pub(super) async fn find_dataset(
    shared: &Shared,
    caller: &Caller,
    id: &str,
) -> Result<(BatchView, DatasetView), Problem> {
    let view = find(shared, caller, id).await?;
    let dataset = if view.id.is_dataset() { shared.queue.dataset(&view.id).await? } else { None };
    Ok((view, dataset.ok_or_else(Problem::no_such_dataset)?))
}

/// The batch as clients see it.
pub(super) async fn describe(shared: &Shared, view: BatchView) -> Result<Batch, uso_queue::Error> {
    let dataset = if view.id.is_dataset() { shared.queue.dataset(&view.id).await? } else { None };
    Ok(Batch { links: BatchLinks::new(&view.id), dataset: dataset.map(Dataset::from), view })
}

/// The same, with the failed rows of a data set by reason.
pub(super) async fn describe_with_reasons(shared: &Shared, view: BatchView) -> Result<Batch, Problem> {
    let dataset = if view.id.is_dataset() { shared.queue.dataset(&view.id).await? } else { None };
    let counted = match &dataset {
        // Nothing has to be read.
        Some(of) if view.counts.failed == 0 => Reasons { counted: of.archived, ..Reasons::default() },
        Some(of) => {
            let Shared { failures, queue, store, .. } = shared;
            reasons::count(failures, queue, store, (&view.id, of)).await
        }
        None => Reasons::default(),
    };
    let waits = dataset.is_some() && view.counts.queued > 0 && is_outside_window(&shared.queue).await?;
    let dataset = dataset.map(|dataset| Dataset::from(dataset).with_reasons(counted));
    let dataset = dataset.map(|dataset| if waits { dataset.outside_window() } else { dataset });
    Ok(Batch { links: BatchLinks::new(&view.id), dataset, view })
}

/// Whether bulk jobs wait for the nightly window.
async fn is_outside_window(queue: &Queue) -> Result<bool, uso_queue::Error> {
    let (window, now) = (queue.window().await?, Timestamp::now());
    Ok(window.is_some_and(|view| !view.window.fill && !(view.next_opens..view.next_closes).contains(&now)))
}
