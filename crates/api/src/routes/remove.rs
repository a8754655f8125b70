//! `DELETE /v1/jobs/{id}`: what is left of a job that has ended.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use uso_queue::Removed;
use uso_store::{checkpoint_prefix, output_prefix};

use super::jobs::{find, word};
use crate::caller::Caller;
use crate::path::Path;
use crate::{Problem, Shared};

/// Deletes a job's pictures, sidecars and half-drawn pictures, then its record. In this order, so that a process
/// that dies in between leaves a record by which the same request finds the rest. Reference images stay: other
/// jobs may name them.
pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let view = find(&shared, &caller, &id).await?;
    if !view.state.is_terminal() {
        let detail = format!("the job is {}; only one that has ended can be deleted", word(view.state));
        return Err(Problem::new(StatusCode::CONFLICT, "not_finished", detail));
    }
    // What has ended stays so: nothing that is deleted here can be wanted again.
    shared.store.delete_all(&output_prefix(&view.id)).await?;
    shared.store.delete_all(&checkpoint_prefix(&view.id)).await?;
    match shared.queue.remove(&view.id).await? {
        Some(Removed::Done) => Ok(StatusCode::NO_CONTENT),
        // Somebody else was faster.
        None => Err(Problem::no_such_job()),
        Some(Removed::Unfinished) => {
            let detail = "the job has not ended";
            Err(Problem::new(StatusCode::CONFLICT, "not_finished", detail))
        }
    }
}
