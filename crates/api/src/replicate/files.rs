//! `/v1/files`: pictures that come through the API instead of going straight to S3.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::multipart::{Field, Multipart, MultipartRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use uso_queue::{FieldError, Time};
use uso_store::{Error as StoreError, Look, PictureKind, upload_key};
use uuid::Uuid;

use super::shape::time;
use crate::caller::Caller;
use crate::origin::Origin;
use crate::path::Path;
use crate::{Problem, Shared};

/// Longest time a client may take to send a file.
const FILE_TIME: Duration = Duration::from_secs(120);
/// Longest name of a file that is given back.
const MAX_NAME: usize = 255;

/// A picture that was sent here. What nobody keeps of it is empty.
#[derive(Serialize, JsonSchema)]
pub(crate) struct File {
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

/// Where a file is found: a prediction's input takes this, too.
#[derive(Serialize, JsonSchema)]
struct FileUrls {
    get: String,
}

/// Keeps the form's field `content` as an upload. Where the client can, `POST /v1/uploads` is better: its
/// bytes then do not pass through here.
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, Problem> {
    let form = form.map_err(|_| {
        let detail = "the body must be sent as multipart/form-data";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", detail)
    })?;
    let most = shared.store.config().max_bytes;
    let read = tokio::time::timeout(FILE_TIME, content(form, most)).await;
    let (name, bytes) = read.map_err(|_| {
        let detail = format!("the file did not arrive within {} s", FILE_TIME.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
    })??;
    let Some(kind) = PictureKind::of_bytes(&bytes) else {
        let message = "the file is not a png, jpeg or webp image".into();
        let error = FieldError { pointer: "/content".into(), code: "not_an_image", message };
        return Err(Problem::fields(vec![error]));
    };
    let id = Uuid::now_v7();
    let stored = shared.store.put(&upload_key(&caller.tenant, &id), kind.media_type(), bytes).await?;
    let look = shared.store.look(&upload_key(&caller.tenant, &id)).await?;
    let checksums = Checksums { sha256: Some(stored.sha256) };
    let file = File { name, checksums, ..describe(&id, &look, &origin) };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(file)).into_response())
}

/// The name and the bytes of the file in a form.
async fn content(mut form: Multipart, most: u64) -> Result<(String, Bytes), Problem> {
    let broken = |_| {
        let detail = format!("the form must arrive whole; its file may have {most} bytes");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_form", detail)
    };
    while let Some(field) = form.next_field().await.map_err(broken)? {
        if field.name() == Some("content") {
            let name: String = field.file_name().unwrap_or("file").chars().take(MAX_NAME).collect();
            return Ok((name, bounded(field, most).await?));
        }
        // Clients say more of a file than matters here.
        bounded(field, most).await?;
    }
    let message = "must be there".into();
    Err(Problem::fields(vec![FieldError { pointer: "/content".into(), code: "missing", message }]))
}

async fn bounded(mut field: Field<'_>, most: u64) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    loop {
        let chunk = field.chunk().await.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_form", "the form did not arrive whole")
        })?;
        let Some(chunk) = chunk else { return Ok(bytes.freeze()) };
        if (bytes.len() + chunk.len()) as u64 > most {
            let detail = format!("a file may have {most} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        }
        bytes.extend_from_slice(&chunk);
    }
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: Uuid = id.parse().map_err(|_| no_such_file())?;
    match shared.store.look(&upload_key(&caller.tenant, &id)).await {
        Ok(look) => {
            let body = Json(describe(&id, &look, &origin));
            Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
        }
        Err(StoreError::Missing { .. }) => Err(no_such_file()),
        Err(error) => Err(error.into()),
    }
}

/// Forgets a file; jobs that name it and have not begun will fail.
pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: Uuid = id.parse().map_err(|_| no_such_file())?;
    shared.store.delete(&upload_key(&caller.tenant, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_file() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_file", "there is no such file, or its time is over")
}

fn describe(id: &Uuid, look: &Look, origin: &Origin) -> File {
    let made_ms = id.get_timestamp().map(|made| {
        let (seconds, nanoseconds) = made.to_unix();
        seconds * 1000 + u64::from(nanoseconds) / 1_000_000
    });
    File {
        id: *id,
        name: id.to_string(),
        content_type: look.media_type.clone(),
        size: look.bytes,
        etag: look.tag.clone(),
        checksums: Checksums { sha256: None },
        metadata: Map::new(),
        created_at: time(made_ms).unwrap_or_default(),
        expires_at: None,
        urls: FileUrls { get: format!("{}/v1/files/{id}", origin.text()) },
    }
}
