//! `GET /v1/batches`: a tenant's data sets, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::BatchId;

use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::problem::Problem;
use crate::query::Params;
use crate::routes::batch_view::{Batch, describe};
use crate::shared::Shared;

/// Most data sets of a page, and how many it has by default.
const MOST: usize = 100;
const USUAL: usize = 20;

/// A page of data sets.
#[derive(Serialize, JsonSchema)]
struct BatchPage {
    /// The data sets, the newest first.
    batches: Vec<Batch>,
    /// The `cursor` of the next page; none at the end.
    next: Option<BatchId>,
}

pub(crate) fn list_operation() -> Operation {
    Operation::new("listDatasets", "List your data sets")
        .says("The newest first, a page at a time. Other batches are not listed.")
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::cursor::<BatchId>())
        .gives::<BatchPage>(StatusCode::OK, "A page.", &[])
}

/// The caller's data sets.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let limit = params.number("limit", 1..=MOST, USUAL);
    let after: Option<BatchId> = params.given("cursor", "must be the `next` of the page before");
    params.finish()?;
    let named = shared.queue.datasets(&caller.tenant).await?;
    let mut ids: Vec<BatchId> = named.into_iter().map(|(_, id)| id).collect();
    // Ids are in the order of their making.
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids.retain(|id| after.is_none_or(|after| *id < after));
    let next = if ids.len() > limit { ids.get(limit - 1).copied() } else { None };
    ids.truncate(limit);
    let views = try_join_all(ids.iter().map(|id| shared.queue.batch(id))).await?;
    let found = views.into_iter().flatten().filter(|view| view.tenant == caller.tenant);
    let batches = try_join_all(found.map(|view| describe(&shared, view))).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(BatchPage { batches, next })).into_response())
}
