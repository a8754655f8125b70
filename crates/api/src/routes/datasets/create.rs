//! `POST /v1/batches` with `dataset`: makes a data set.

use std::sync::Arc;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uso_queue::{BatchId, NewDataset};

use super::manifest::{self, ListedRow};
use super::request;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::routes::batch_view::BatchLinks;
use crate::shared::Shared;

/// A data set that is there now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AcceptedDataset {
    id: BatchId,
    /// Whether this request made it; else there was one of this name.
    fresh: bool,
    /// Its rows.
    rows: u64,
    links: BatchLinks,
    /// Rows of the manifest that were left out, if the request names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_row_count: Option<u64>,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_rows: Option<Vec<ListedRow>>,
    /// Rows that were replaced, if the request names a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<u64>,
}

/// Makes a data set, or finds the caller's of this name, and reads its manifest if the body names one.
pub(crate) async fn create(shared: &Arc<Shared>, caller: &Caller, body: &Value) -> Result<Response, Problem> {
    let wanted = request::read(body).map_err(Problem::fields)?;
    let manifest = match &wanted.manifest {
        Some(rows) => Some((rows, manifest::find(shared, caller, &rows.source).await?)),
        None => None,
    };
    let settings = serde_json::to_string(&wanted.settings).map_err(|error| Problem::internal(&error))?;
    let new = NewDataset {
        name: &wanted.settings.name,
        settings: &settings,
        metadata: &wanted.metadata,
        budget: wanted.budget,
    };
    let made = shared.queue.create_dataset(&caller.tenant, &new).await?;
    let read = match manifest {
        Some(_) if shared.queue.batch(&made.id).await?.is_some_and(|batch| batch.canceled) => {
            return Err(Problem::batch_canceled());
        }
        Some((rows, object)) => Some(manifest::read(shared, caller, &made.id, rows, object).await?),
        None => None,
    };
    let dataset = shared.queue.dataset(&made.id).await?.ok_or_else(Problem::no_such_dataset)?;
    let (id, fresh, rows) = (made.id, made.fresh, dataset.rows);
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/v1/batches/{id}");
    let replaced = read.as_ref().map(|read| read.replaced);
    let (bad_row_count, bad_rows) = read.map(|read| (read.bad.count, read.bad.listed)).unzip();
    let body =
        AcceptedDataset { id, fresh, rows, links: BatchLinks::new(&id), bad_row_count, bad_rows, replaced };
    Ok((status, [(header::LOCATION, location)], Json(body)).into_response())
}
