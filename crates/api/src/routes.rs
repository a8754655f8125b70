//! What each route does, and what they share.

pub(crate) mod batches;
pub(crate) mod capabilities;
pub(crate) mod estimate;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod page;
pub(crate) mod queue;
pub(crate) mod remove;
pub(crate) mod session;
pub(crate) mod steer;
pub(crate) mod uploads;
mod wait;
pub(crate) mod webhooks;
pub(crate) mod workers;

use axum::http::StatusCode;
use serde_json::{Value, json};
use uso_queue::JobId;

use crate::Problem;

/// Reads an id from a path: one that cannot be is one that is not there.
fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| Problem::no_such_job())
}

/// Where everything about a job is found.
pub(crate) fn links(id: &JobId) -> Value {
    json!({
        "self": format!("/v1/jobs/{id}"),
        "events": format!("/v1/jobs/{id}/events"),
        "preview": format!("/v1/jobs/{id}/preview"),
        "result": format!("/v1/jobs/{id}/result"),
        "cancel": format!("/v1/jobs/{id}/cancel"),
    })
}

pub(crate) async fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path")
}

pub(crate) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", "this path does not take this method")
}
