//! `POST /v1/batches/{id}/start`: the rows of a data set may be queued.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::SchemaGenerator;
use serde_json::{Value, json};
use uso_queue::FieldError;

use super::fields::{MOST, fault, object, whole};
use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::path::Path;
use crate::problem::Problem;
use crate::routes::batch_view::{Batch, describe, find, find_dataset};
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

fn schema(_: &mut SchemaGenerator) -> Value {
    json!({
        "description": "How many rows may be queued, from the first on.",
        "type": "object",
        "additionalProperties": false,
        "properties": { "rows": { "type": "integer", "minimum": 0, "maximum": MOST } },
        "required": ["rows"],
    })
}

pub(crate) fn start_operation() -> Operation {
    on_dataset("startDataset", "Start a data set")
        .says("Its first rows may be queued, never fewer than before. Before the first start nothing is.")
        .takes("StartRequest", schema, [])
        .refuses(StatusCode::CONFLICT, &["rows_moved", "batch_canceled"])
        .gives::<Batch>(StatusCode::ACCEPTED, "The batch as it is now.", &[])
}

/// Lets the first rows be queued.
pub(crate) async fn start(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (view, dataset) = find_dataset(&shared, &caller, &id).await?;
    let body = read_json(&headers, body, MAX_BODY).await?;
    let rows = read(&body).map_err(Problem::fields)?;
    if view.canceled {
        return Err(Problem::batch_canceled());
    }
    if rows > dataset.rows {
        let detail = format!("{rows} rows cannot be started: the data set has {}", dataset.rows);
        return Err(Problem::rows_moved(dataset.rows, detail));
    }
    shared.queue.start_dataset(&view.id, rows).await?.ok_or_else(Problem::no_such_dataset)?;
    let view = find(&shared, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(describe(&shared, view).await?)).into_response())
}

fn read(body: &Value) -> Result<u64, Vec<FieldError>> {
    let mut errors = Vec::new();
    let fields = object(body, &["rows"], &mut errors);
    let rows = fields.and_then(|fields| fields.get("rows")).and_then(whole);
    if rows.is_none() {
        errors.push(fault(
            "/rows".into(),
            "out_of_range",
            format!("must be a whole number within 0 to {MOST}"),
        ));
    }
    rows.filter(|_| errors.is_empty()).ok_or(errors)
}
