//! A row's job that has left the queue, as its segment tells.

use uso_dataset::Outcome;
use uso_dataset::run::find_outcome;
use uso_queue::{JobId, JobView, Source};

use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;

/// A job that has left the queue.
pub(crate) struct Archived {
    pub(crate) view: JobView,
    /// Whether its picture lies in a shard of its data set alone.
    pub(crate) is_packed: bool,
}

/// The caller's job, if it is a row whose outcome is in a segment.
///
/// # Errors
/// That it cannot be found out now.
pub(crate) async fn find(shared: &Shared, caller: &Caller, id: &JobId) -> Result<Option<Archived>, Problem> {
    let Some(row) = id.row() else { return Ok(None) };
    let batch = shared.queue.batch(&row.batch).await?;
    if batch.is_none_or(|batch| batch.tenant != caller.tenant) {
        return Ok(None);
    }
    let Some(outcome) = find_outcome(&shared.queue, &shared.store, &row).await? else { return Ok(None) };
    let is_packed = match outcome.output.as_ref().map(|output| output.uri.parse()) {
        Some(Ok(Source::S3 { key, .. })) => shared.store.head(&key).await?.is_none(),
        _ => false,
    };
    Ok(Some(Archived { view: view_of(outcome, caller)?, is_packed }))
}

/// What the queue would have answered, as far as a segment tells.
fn view_of(outcome: Outcome, caller: &Caller) -> Result<JobView, Problem> {
    let last_event = "0-0".parse().map_err(|error: String| Problem::internal(&error))?;
    Ok(JobView {
        id: outcome.job,
        tenant: caller.tenant.clone(),
        state: outcome.state,
        version: 0,
        attempt: outcome.attempt,
        fence: 0,
        class: outcome.spec.class,
        spec: outcome.spec,
        step: 0,
        of: 0,
        submitted_ms: outcome.submitted_ms,
        started_ms: outcome.started_ms,
        due_ms: None,
        finished_ms: Some(outcome.finished_ms),
        expires_ms: None,
        aborted: outcome.started_ms.is_none(),
        batch: outcome.job.row().map(|row| row.batch),
        row: Some(outcome.row),
        row_key: Some(outcome.key),
        retry_of: None,
        retried_by: None,
        blocked: None,
        checkpoint: None,
        worker: None,
        output: outcome.output,
        error: outcome.error,
        last_event,
    })
}
