//! `POST /v1/jobs/{id}/cancel`, `POST /v1/jobs/{id}/retry`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use uso_queue::{Canceled, Retried, State as JobState};

use super::job_view::{
    AcceptedJob, FoundJob, Job, accepted, describe, describe_with, find, find_anywhere, refuse_row, word,
};
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
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// Cancels a job; repeating it gives the same answer.
pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let FoundJob { view, is_packed } = find_anywhere(&shared, &caller, &id).await?;
    match view.state {
        JobState::Queued | JobState::Running => {}
        JobState::Canceled => {
            let body = describe_with(&shared, &caller, &view, is_packed).await?;
            return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
        }
        ended => return Err(already_ended(ended)),
    }
    let job = view.id;
    match shared.queue.cancel(&job).await?.ok_or_else(Problem::no_such_job)? {
        Canceled::Done => {
            let view = find(&shared, &caller, &id).await?;
            Ok((StatusCode::ACCEPTED, Json(describe(&shared, &caller, &view).await?)).into_response())
        }
        Canceled::Ended(state) => Err(already_ended(state)),
    }
}

fn already_ended(state: JobState) -> Problem {
    let detail = format!("the job {} and can no longer be canceled", word(state));
    Problem::new(StatusCode::CONFLICT, "already_ended", detail)
}

pub(crate) fn retry_operation() -> Operation {
    on_job("retryJob", "Repeat a job that has ended")
        .says("Creates a new job once: repeating it gives the same one.")
        .gives::<AcceptedJob>(StatusCode::ACCEPTED, "The new job.", &[LOCATION])
        .leads_to(&ON_JOB)
        .refuses(StatusCode::CONFLICT, &["not_finished", "row_of_dataset"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// Creates a new job from one that has ended; repeating it gives the same new job.
pub(crate) async fn retry(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find_anywhere(&shared, &caller, &id).await?.view;
    refuse_row(&view)?;
    let job = view.id;
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
