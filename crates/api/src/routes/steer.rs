//! `POST /v1/jobs/{id}/cancel`, `POST /v1/jobs/{id}/retry`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use uso_queue::{Canceled, Retried};

use super::jobs::{accepted, describe, find, word};
use crate::caller::Caller;
use crate::path::Path;
use crate::{Problem, Shared};

/// Ends a job; again gives the same answer.
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

/// Makes a new job from one that has ended; again gives the same new job.
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
            let detail = "the job has not ended; only an ended one can be repeated";
            Err(Problem::new(StatusCode::CONFLICT, "not_finished", detail))
        }
    }
}
