//! `/v1/files`: pictures that are sent through the API instead of directly to S3.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uso_queue::{FieldError, NewFile, Time};
use uso_store::{Error as StoreError, FileInfo, PictureKind, upload_key};
use uuid::Uuid;

use super::shape::time;
use crate::body::form::Form;
use crate::body::memory::Reserved;
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts::{self, RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::origin::Origin;
use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

/// Longest time a client may take to send a file.
const FILE_TIME: Duration = Duration::from_secs(120);
/// Most bytes of a form beside the file.
const AROUND: usize = 1024 * 1024;
/// Largest field of a form that is no file.
const MAX_FIELD: usize = 64 * 1024;
/// Longest name of a file that is given back.
const MAX_NAME: usize = 255;

/// A picture that was sent here. Fields that are not stored are empty.
#[derive(Serialize, JsonSchema)]
struct File {
    /// The upload's.
    #[schemars(with = "String")]
    id: Uuid,
    /// As its sender called it, in the answer to its sending; otherwise its id.
    name: String,
    content_type: Option<String>,
    /// In bytes.
    size: u64,
    etag: String,
    checksums: Checksums,
    metadata: Map<String, Value>,
    #[schemars(with = "Time")]
    created_at: String,
    expires_at: Option<String>,
    urls: FileUrls,
}

/// Digests of a file.
#[derive(Serialize, JsonSchema)]
struct Checksums {
    /// In hexadecimal; in the answer to its sending.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// Links to a file. You can use one in a prediction's input, too.
#[derive(Serialize, JsonSchema)]
struct FileUrls {
    get: String,
}

pub(crate) fn create_operation() -> Operation {
    let schema = json!({
        "type": "object",
        "properties": {
            "content": { "type": "string", "format": "binary", "description": "A PNG, JPEG or WebP file." },
        },
        "required": ["content"],
    });
    Operation::new("createFile", "Send a picture")
        .says("With `POST /v1/uploads` you can upload directly to S3 instead.")
        .takes_form(schema)
        .gives::<File>(StatusCode::CREATED, "The file.", &[RATE_LIMIT, RATE_LIMIT_POLICY])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_fast", "too_much_stored"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable", "no_room"])
}

/// Stores the form's field `content` as an upload. `POST /v1/uploads` is better where the client can use it: the
/// bytes then do not pass through the API.
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let most = shared.store.config().max_bytes as usize;
    let mut form = Form::new(&headers, body, most.saturating_add(AROUND))?;
    let mut memory = shared.memory.reserve();
    let reading = async {
        let read = content(&mut form, most, &mut memory).await;
        if read.is_err() {
            form.swallow().await;
        }
        read
    };
    let (name, bytes) = tokio::time::timeout(FILE_TIME, reading).await.map_err(|_| {
        let detail = format!("the file did not arrive within {} s", FILE_TIME.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
    })??;
    let Some(kind) = PictureKind::of_bytes(&bytes) else {
        let message = "the file is not a png, jpeg or webp image".into();
        let error = FieldError { pointer: "/content".into(), code: "not_an_image", message };
        return Err(Problem::fields(vec![error]));
    };
    let id = Uuid::now_v7();
    let file = NewFile { id, bytes: bytes.len() as u64 };
    shared.queue.count_upload(&caller.tenant, file).await?;
    let stored = shared.store.put(&upload_key(&caller.tenant, &id), kind.media_type(), bytes).await;
    if stored.is_err() {
        // If this fails too, the file counts until it expires.
        let _ = shared.queue.uncount_file(&caller.tenant, &id).await;
    }
    let stored = stored?;
    let info = shared.store.inspect(&upload_key(&caller.tenant, &id)).await?;
    let checksums = Checksums { sha256: Some(stored.sha256) };
    let file = File { name, checksums, ..describe(&id, &info, &origin) };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(file)).into_response())
}

/// The name and the bytes of the file in a form.
async fn content(form: &mut Form, most: usize, memory: &mut Reserved) -> Result<(String, Bytes), Problem> {
    while let Some(head) = form.next_part().await? {
        if head.name.as_deref() == Some("content") {
            let name: String = head.file_name.as_deref().unwrap_or("file").chars().take(MAX_NAME).collect();
            return Ok((name, bounded(form, most, memory).await?));
        }
        // Clients send more fields than we need.
        bounded(form, MAX_FIELD, memory).await?;
    }
    let message = "must be there".into();
    Err(Problem::fields(vec![FieldError { pointer: "/content".into(), code: "missing", message }]))
}

async fn bounded(form: &mut Form, most: usize, memory: &mut Reserved) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = form.chunk().await? {
        if bytes.len() + chunk.len() > most {
            let detail = format!("a file may have {most} bytes, other fields {MAX_FIELD}");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        }
        memory.grow_to(bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// An operation on one file.
fn on_file(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary)
        .parameter(parts::in_path("id", "The file.", json!({ "type": "string", "format": "uuid" })))
        .refuses(StatusCode::NOT_FOUND, &["no_such_file"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

pub(crate) fn show_operation() -> Operation {
    on_file("getFile", "Get a file").gives::<File>(StatusCode::OK, "The file.", &[])
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: Uuid = id.parse().map_err(|_| no_such_file())?;
    match shared.store.inspect(&upload_key(&caller.tenant, &id)).await {
        Ok(info) => {
            let body = Json(describe(&id, &info, &origin));
            Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
        }
        Err(StoreError::Missing { .. }) => Err(no_such_file()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn delete_operation() -> Operation {
    on_file("deleteFile", "Delete a file")
        .says("Jobs that name it and have not started will fail.")
        .gives_nothing(StatusCode::NO_CONTENT, "The file is deleted.", &[])
}

/// Deletes a file; jobs that name it and have not started will fail.
pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: Uuid = id.parse().map_err(|_| no_such_file())?;
    shared.store.delete(&upload_key(&caller.tenant, &id)).await?;
    shared.queue.uncount_file(&caller.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_file() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_file", "there is no such file, or it has expired")
}

fn describe(id: &Uuid, info: &FileInfo, origin: &Origin) -> File {
    let made_ms = id.get_timestamp().map(|made| {
        let (seconds, nanoseconds) = made.to_unix();
        seconds * 1000 + u64::from(nanoseconds) / 1_000_000
    });
    File {
        id: *id,
        name: id.to_string(),
        content_type: info.media_type.clone(),
        size: info.bytes,
        etag: info.tag.clone(),
        checksums: Checksums { sha256: None },
        metadata: Map::new(),
        created_at: time(made_ms).unwrap_or_default(),
        expires_at: None,
        urls: FileUrls { get: format!("{}/v1/files/{id}", origin.text()) },
    }
}
