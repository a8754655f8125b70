//! `GET /v1/jobs`: a tenant's jobs, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{Class, ListCursor, ListFilter, State as JobState};

use super::jobs::{Job, describe};
use crate::caller::Caller;
use crate::query::Params;
use crate::{Problem, Shared};

/// Most jobs of a page, and how many it has if nothing is asked for.
pub(crate) const MOST: usize = 100;
pub(crate) const USUAL: usize = 20;

/// A page of jobs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JobPage {
    /// The jobs, the newest first; a page may have fewer than asked for although more follow.
    jobs: Vec<Job>,
    /// The `cursor` of the next page; none at the end.
    #[schemars(with = "Option<ListCursor>")]
    next: Option<String>,
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
    // The URLs in it are secrets for as long as they live.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
