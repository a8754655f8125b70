//! `DELETE /v1/jobs/{id}`: deletes a job that has ended.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use uso_queue::Removed;
use uso_store::{checkpoint_prefix, output_prefix};

use super::job_view::{find_anywhere, refuse_row, word};
use super::jobs::on_job;
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

pub(crate) fn remove_operation() -> Operation {
    on_job("deleteJob", "Delete a job that has ended")
        .says(
            "Its record, its picture and all that belongs to it. References stay: other jobs may name them.",
        )
        .gives_nothing(StatusCode::NO_CONTENT, "The job is deleted.", &[])
        .refuses(StatusCode::CONFLICT, &["not_finished", "row_of_dataset"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// Deletes a job's pictures, sidecars and checkpoints, then its record. In this order, because a process that stops
/// in between leaves a record, by which the same request finds the rest. Reference images stay: other jobs may
/// name them.
pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let view = find_anywhere(&shared, &caller, &id).await?.view;
    refuse_row(&view)?;
    if !view.state.is_terminal() {
        let detail = format!("the job is {}; only one that has ended can be deleted", word(view.state));
        return Err(Problem::new(StatusCode::CONFLICT, "not_finished", detail));
    }
    // A job that has ended never runs again and needs nothing that is deleted here.
    shared.store.delete_all(&output_prefix(&view.id)).await?;
    shared.store.delete_all(&checkpoint_prefix(&view.id)).await?;
    match shared.queue.remove(&view.id).await? {
        Some(Removed::Done) => Ok(StatusCode::NO_CONTENT),
        // Another request was faster.
        None => Err(Problem::no_such_job()),
        Some(Removed::Unfinished) => {
            let detail = "the job has not ended";
            Err(Problem::new(StatusCode::CONFLICT, "not_finished", detail))
        }
    }
}
