//! `PUT /v1/batches/{id}/budget`: what a data set may cost.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::fields::{budget_schema, read_budget};
use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::path::Path;
use crate::problem::Problem;
use crate::routes::batch_view::{Batch, describe, find, find_dataset};
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

pub(crate) fn set_operation() -> Operation {
    on_dataset("setBudget", "Change what a data set may cost")
        .says("A limit that is left out is lifted.")
        .takes("BudgetRequest", budget_schema, [])
        .gives::<Batch>(StatusCode::OK, "The batch as it is now.", &[])
}

/// Changes what a data set may cost.
pub(crate) async fn set(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (view, _) = find_dataset(&shared, &caller, &id).await?;
    let body = read_json(&headers, body, MAX_BODY).await?;
    let mut errors = Vec::new();
    let budget = read_budget(&body, "", &mut errors);
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    if !shared.queue.set_budget(&view.id, &budget).await? {
        return Err(Problem::no_such_dataset());
    }
    let view = find(&shared, &caller, &id).await?;
    Ok(Json(describe(&shared, view).await?).into_response())
}
