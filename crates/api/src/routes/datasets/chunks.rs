//! `GET /v1/batches/{id}/chunks/{number}`: which rows a chunk has, to compare a manifest with them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uso_dataset::layout;
use uso_dataset::rows::Chunk;
use uso_dataset::run::ChunkEntry;

use crate::body::lines::JSON_LINES;
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::path::Path;
use crate::problem::Problem;
use crate::routes::batch_view::find_dataset;
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

pub(crate) fn show_operation() -> Operation {
    let number = json!({ "type": "integer", "minimum": 0 });
    on_dataset("getChunk", "See which rows a chunk has")
        .says("For each row its key and a digest of what it asks for, in order: `{\"key\", \"digest\"}`, a JSON object a line.")
        .parameter(parts::in_path("number", "The chunk, from 0, in the order in which rows were added.", number))
        .gives_other(JSON_LINES, json!({ "type": "string" }), "The rows.")
        .refuses(StatusCode::NOT_FOUND, &["no_such_chunk"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// The keys and digests of a chunk's rows.
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (view, _) = find_dataset(&shared, &caller, &id).await?;
    let number: u32 = number.parse().map_err(|_| no_such_chunk())?;
    let number = u64::from(number);
    let entry = shared.queue.dataset_chunks(&view.id, number, 1).await?.pop().ok_or_else(no_such_chunk)?;
    let entry: ChunkEntry = serde_json::from_str(&entry).map_err(|error| Problem::internal(&error))?;
    let key = layout::chunk(&view.id, number, &entry.sha256);
    let chunk = Chunk::read(&key, &shared.store.get(&key).await?)?;
    let lines: String = chunk
        .rows()
        .iter()
        .map(|row| format!("{}\n", json!({ "key": row.key, "digest": row.digest })))
        .collect();
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], lines).into_response())
}

pub(super) fn no_such_chunk() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_chunk", "the data set has no chunk of this number")
}
