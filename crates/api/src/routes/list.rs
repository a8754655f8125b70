//! `GET /v1/jobs`: a tenant's jobs, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uso_queue::{BatchId, Class, ListCursor, ListFilter, State as JobState};

use super::job_view::{Job, describe};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::openapi::schema::reference;
use crate::problem::Problem;
use crate::query::Params;
use crate::shared::Shared;

/// Most jobs of a page, and how many it has by default.
const MOST: usize = 100;
const USUAL: usize = 20;

/// A page of jobs.
#[derive(Serialize, JsonSchema)]
struct JobPage {
    /// The jobs, the newest first; a page may have fewer than `limit` although more follow.
    jobs: Vec<Job>,
    /// The `cursor` of the next page; none at the end.
    #[schemars(with = "Option<ListCursor>")]
    next: Option<String>,
}

pub(crate) fn list_operation() -> Operation {
    let words = |words: &[&str]| json!({ "type": "string", "enum": words });
    let states = words(&JobState::ALL.map(JobState::as_str));
    let classes = words(&Class::ALL.map(Class::as_str));
    Operation::new("listJobs", "List your jobs")
        .says("The newest first, a page at a time.")
        .parameter(parts::in_query("state", "Only those in this state.", states))
        .parameter(parts::in_query("class", "Only those of this class.", classes))
        .parameter(parts::in_query("batch", "Only those of this batch.", reference::<BatchId>()))
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::cursor::<ListCursor>())
        .gives::<JobPage>(StatusCode::OK, "A page.", &[])
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let wanted = ListFilter {
        tenant: Some(caller.tenant.clone()),
        state: params.choice("state", &JobState::ALL.map(|state| (state.as_str(), state))),
        class: params.choice("class", &Class::ALL.map(|class| (class.as_str(), class))),
        batch: params.given("batch", "must be the id of a batch"),
        enough: params.number("limit", 1..=MOST, USUAL),
        after: params.given("cursor", "must be the `next` of the page before"),
    };
    params.finish()?;
    let page = shared.queue.list(&wanted).await?;
    let jobs = try_join_all(page.jobs.iter().map(|view| describe(&shared, &caller, view))).await?;
    let body = JobPage { jobs, next: page.next.map(|next| next.to_string()) };
    // The URLs in it are secret while they are valid.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
