//! `POST /v1/uploads`: a place to put a reference image.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uso_queue::{FieldError, MAX_SEED, NewFile, Source};
use uso_store::{PictureKind, upload_key};
use uuid::Uuid;

use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::{Problem, Shared};

/// The request that puts a file.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Upload {
    /// The upload.
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: Uuid,
    /// What a job names it by.
    source: Source,
    /// The request's method.
    #[schemars(extend("enum" = ["PUT"]))]
    method: &'static str,
    /// Where to.
    url: String,
    /// Headers that must be sent with it.
    headers: BTreeMap<&'static str, String>,
    /// For how many seconds it will be taken.
    expires_in_s: u64,
    /// Largest file that the fleet takes.
    max_bytes: u64,
}

/// Gives a request that puts one file of the kind and size that are asked for, and no other. Nothing deletes
/// what is uploaded and never used: a lifecycle rule of the bucket must, for the prefix `uploads/`.
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let max_bytes = shared.store.config().max_bytes;
    let body = read_json(&headers, body, MAX_BODY).await?;
    let (kind, bytes) = read(&body, max_bytes).map_err(Problem::fields)?;
    let id = Uuid::new_v4();
    shared.queue.count_upload(&caller.tenant, NewFile { id, bytes }).await?;
    let lifetime = shared.config.link_lifetime;
    let put = shared.store.presign_put(&upload_key(&caller.tenant, &id), kind, bytes, lifetime).await?;
    let body = Upload {
        id,
        source: Source::upload(id),
        method: "PUT",
        url: put.url,
        headers: put.headers.into_iter().collect(),
        expires_in_s: lifetime.as_secs(),
        max_bytes,
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// What is to be put, or everything that is wrong with the request.
fn read(body: &Value, max_bytes: u64) -> Result<(PictureKind, u64), Vec<FieldError>> {
    let fault = |pointer: &str, code, message: String| FieldError { pointer: pointer.into(), code, message };
    let Value::Object(fields) = body else {
        return Err(vec![fault("", "wrong_type", "the body must be a JSON object".into())]);
    };
    let mut errors = Vec::new();
    let kind = fields.get("content_type").and_then(Value::as_str).and_then(PictureKind::of_media_type);
    if kind.is_none() {
        let kinds = PictureKind::ALL.map(PictureKind::media_type).join(", ");
        errors.push(fault("/content_type", "not_a_choice", format!("must be one of: {kinds}")));
    }
    let bytes = fields.get("bytes").and_then(whole).filter(|bytes| (1..=max_bytes).contains(bytes));
    if bytes.is_none() {
        let message = format!("must be the file's size in bytes, within 1 to {max_bytes}");
        errors.push(fault("/bytes", "out_of_range", message));
    }
    for name in fields.keys().filter(|name| !matches!(name.as_str(), "content_type" | "bytes")) {
        errors.push(FieldError::unknown(name));
    }
    match (kind, bytes) {
        (Some(kind), Some(bytes)) if errors.is_empty() => Ok((kind, bytes)),
        _ => Err(errors),
    }
}

/// To JSON, 64.0 is a whole number.
fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_SEED as f64).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}
