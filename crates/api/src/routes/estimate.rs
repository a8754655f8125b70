//! `POST /v1/estimate`: how long a job, or several like it, would take, without submitting it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;
use uso_queue::{Defaults, JobSpec};

use super::jobs::{examples, request_schema};
use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::eta::Estimate;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::problem::Problem;
use crate::query::Params;
use crate::shared::Shared;

/// Most jobs of one estimate.
const MOST: usize = 1000;

pub(crate) fn estimate_operation(defaults: &Defaults) -> Operation {
    let jobs = json!({ "type": "integer", "minimum": 1, "maximum": MOST, "default": 1 });
    Operation::new("estimateJob", "Estimate how long a job would take")
        .says("Nothing is submitted, and references are not checked.")
        .parameter(parts::in_query("jobs", "How many jobs like this one; 1 by default.", jobs))
        .takes("JobRequest", request_schema(defaults), examples())
        .gives::<Estimate>(StatusCode::OK, "The estimate.", &[])
}

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
