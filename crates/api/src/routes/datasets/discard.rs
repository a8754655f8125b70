//! `DELETE /v1/batches/{id}/rows`: rows that were added by mistake go.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::rows::MOST_ROWS;
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::routes::batch_view::find_dataset;
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

/// What is left of a data set's rows.
#[derive(Serialize, JsonSchema)]
struct RowsLeft {
    /// How many there are.
    rows: u64,
}

pub(crate) fn delete_operation() -> Operation {
    let from = json!({ "type": "integer", "minimum": 0, "maximum": MOST_ROWS, "default": 0 });
    on_dataset("discardRows", "Discard rows that are not started")
        .says("Those behind the first `from` ones go, chunk by chunk; a chunk with a row that is started stays.")
        .parameter(parts::in_query("from", "How many rows stay at least.", from))
        .gives::<RowsLeft>(StatusCode::OK, "What is left.", &[])
}

/// Drops rows that cannot be queued yet.
pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Json<impl Serialize>, Problem> {
    let from = params.number("from", 0..=MOST_ROWS, 0) as u64;
    params.finish()?;
    let (view, _) = find_dataset(&shared, &caller, &id).await?;
    let rows = shared.queue.discard_rows(&view.id, from).await?.ok_or_else(Problem::no_such_dataset)?;
    Ok(Json(RowsLeft { rows }))
}
