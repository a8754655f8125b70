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
pub(crate) mod wait;
pub(crate) mod webhooks;
pub(crate) mod workers;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::JobId;

use crate::Problem;

/// Reads an id from a path: one that cannot be is one that is not there.
fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| Problem::no_such_job())
}

/// Where everything about a job is found.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JobLinks {
    /// The job itself.
    #[serde(rename = "self")]
    this: String,
    /// What happens to it.
    events: String,
    /// How far it is, as a picture.
    preview: String,
    /// The picture.
    result: String,
    /// Where it is canceled.
    cancel: String,
}

impl JobLinks {
    pub(crate) fn new(id: &JobId) -> Self {
        Self::at("", id)
    }

    /// Where somebody finds it who is not here already.
    pub(crate) fn at(origin: &str, id: &JobId) -> Self {
        let under = |name: &str| format!("{origin}/v1/jobs/{id}/{name}");
        Self {
            this: format!("{origin}/v1/jobs/{id}"),
            events: under("events"),
            preview: under("preview"),
            result: under("result"),
            cancel: under("cancel"),
        }
    }
}

pub(crate) async fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path")
}

pub(crate) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", "this path does not take this method")
}
