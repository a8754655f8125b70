//! `POST /v1/estimate`: what a job, or several like it, would have before it, without submitting it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use uso_queue::JobSpec;

use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::eta::Estimate;
use crate::query::Params;
use crate::{Problem, Shared};

/// Most jobs that are asked about at once.
pub(crate) const MOST: usize = 1000;

pub(crate) async fn estimate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    mut params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Estimate>, Problem> {
    let jobs = params.number("jobs", 1..=MOST, 1);
    params.finish()?;
    let body = read_json(&headers, body, MAX_BODY).await?;
    let spec = JobSpec::parse(&body, &shared.config.defaults).map_err(Problem::fields)?;
    Ok(Json(shared.paces.of_prospect(&shared.queue, &caller.tenant, &spec, jobs).await?))
}
