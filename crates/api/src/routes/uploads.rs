//! `POST /v1/uploads`: a request by which a client uploads a reference image to S3.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};
use uso_queue::{FieldError, MAX_SEED, NewFile, Source};
use uso_store::{PictureKind, upload_key};
use uuid::Uuid;

use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::problem::Problem;
use crate::shared::Shared;

/// Media types of manifests.
const MANIFESTS: [&str; 4] =
    ["application/x-ndjson", "text/csv", "application/vnd.apache.parquet", "application/json"];

/// Media types of all files that may be uploaded.
fn media_types() -> impl Iterator<Item = &'static str> {
    PictureKind::ALL.map(PictureKind::media_type).into_iter().chain(MANIFESTS)
}

/// The request that uploads a file.
#[derive(Serialize, JsonSchema)]
struct Upload {
    /// The upload.
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: Uuid,
    /// How a job names the upload.
    source: Source,
    /// The request's method.
    #[schemars(extend("enum" = ["PUT"]))]
    method: &'static str,
    /// The request's address.
    url: String,
    /// Headers that you must send with it.
    headers: BTreeMap<&'static str, String>,
    /// Seconds for which the request is valid.
    expires_in_s: u64,
    /// Largest file that the fleet takes, in bytes.
    max_bytes: u64,
}

fn request_schema(max_bytes: u64) -> impl FnOnce(&mut SchemaGenerator) -> Value {
    move |_| {
        json!({
            "description": "The file that you want to upload.",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "content_type": { "type": "string", "enum": media_types().collect::<Vec<_>>() },
                "bytes": { "description": "Its size in bytes.", "type": "integer", "minimum": 1, "maximum": max_bytes },
            },
            "required": ["content_type", "bytes"],
        })
    }
}

/// `max_bytes` is the largest file that may be uploaded.
pub(crate) fn create_operation(max_bytes: u64) -> Operation {
    let example = json!({ "content_type": "image/png", "bytes": 1000 });
    Operation::new("createUpload", "Create an upload for a reference image or a manifest")
        .says(
            "The answer is a request that uploads this one file to S3; a job, or for a manifest a data set, then names it by \
             its `source`.",
        )
        .takes("UploadRequest", request_schema(max_bytes), [("A picture", example)])
        .gives::<Upload>(StatusCode::CREATED, "The request that uploads the file.", &[])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// Returns a request that uploads one file of this kind and size, and no other. A lifecycle rule of the bucket must
/// delete uploads that are never used, for the prefix `uploads/`.
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let max_bytes = shared.store.config().max_bytes;
    let body = read_json(&headers, body, MAX_BODY).await?;
    let (media_type, bytes) = read(&body, max_bytes).map_err(Problem::fields)?;
    let id = Uuid::new_v4();
    shared.queue.count_upload(&caller.tenant, NewFile { id, bytes }).await?;
    let lifetime = shared.config.link_lifetime;
    let put = shared.store.presign_put(&upload_key(&caller.tenant, &id), media_type, bytes, lifetime).await?;
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

/// The file's media type and size, or everything that is wrong with the body.
fn read(body: &Value, max_bytes: u64) -> Result<(&'static str, u64), Vec<FieldError>> {
    let fault = |pointer: &str, code, message: String| FieldError { pointer: pointer.into(), code, message };
    let Value::Object(fields) = body else {
        return Err(vec![fault("", "wrong_type", "the body must be a JSON object".into())]);
    };
    let mut errors = Vec::new();
    let declared = fields.get("content_type").and_then(Value::as_str);
    let media_type = media_types().find(|media_type| declared == Some(media_type));
    if media_type.is_none() {
        let kinds = media_types().collect::<Vec<_>>().join(", ");
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
    match (media_type, bytes) {
        (Some(media_type), Some(bytes)) if errors.is_empty() => Ok((media_type, bytes)),
        _ => Err(errors),
    }
}

/// To JSON, 64.0 is a whole number.
fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_SEED as f64).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}
