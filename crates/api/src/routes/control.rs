//! `POST /v1/jobs/{id}/cancel`, `POST /v1/jobs/{id}/retry`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use uso_queue::{Canceled, Retried};

use super::job_view::{AcceptedJob, Job, accepted, describe, find, word};
use super::jobs::{ON_JOB, on_job};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts::LOCATION;
use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

pub(crate) fn cancel_operation() -> Operation {
    on_job("cancelJob", "Cancel a job")
        .says("Repeating it gives the same answer. A key without the scope `read` gets no picture.")
        .gives::<Job>(StatusCode::ACCEPTED, "The job is canceled.", &[])
        .refuses(StatusCode::CONFLICT, &["already_ended"])
}

/// Cancels a job; repeating it gives the same answer.
pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&shared, &caller, &id).await?.id;
    match shared.queue.cancel(&job).await?.ok_or_else(Problem::no_such_job)? {
        Canceled::Done => {
            let view = find(&shared, &caller, &id).await?;
            Ok((StatusCode::ACCEPTED, Json(describe(&shared, &caller, &view).await?)).into_response())
        }
        Canceled::Ended(state) => {
            let detail = format!("the job {} and can no longer be canceled", word(state));
            Err(Problem::new(StatusCode::CONFLICT, "already_ended", detail))
        }
    }
}

pub(crate) fn retry_operation() -> Operation {
    on_job("retryJob", "Repeat a job that has ended")
        .says("Creates a new job once: repeating it gives the same one.")
        .gives::<AcceptedJob>(StatusCode::ACCEPTED, "The new job.", &[LOCATION])
        .leads_to(&ON_JOB)
        .refuses(StatusCode::CONFLICT, &["not_finished"])
}

/// Creates a new job from one that has ended; repeating it gives the same new job.
pub(crate) async fn retry(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&shared, &caller, &id).await?.id;
    match shared.queue.retry(&job).await?.ok_or_else(Problem::no_such_job)? {
        Retried::As(new) => {
            let view = find(&shared, &caller, &new.to_string()).await?;
            accepted(&new, view.state, &view.spec)
        }
        _ => {
            let detail = "the job has not ended; you can only retry one that has ended";
            Err(Problem::new(StatusCode::CONFLICT, "not_finished", detail))
        }
    }
}
