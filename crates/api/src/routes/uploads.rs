//! `POST /v1/uploads`: a place to put a reference image.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uso_queue::Source;
use uso_store::upload_key;
use uuid::Uuid;

use crate::caller::Caller;
use crate::{Problem, Shared};

pub(crate) async fn create(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Problem> {
    let id = Uuid::new_v4();
    let lifetime = shared.config.link_lifetime;
    let url = shared.store.presign_put(&upload_key(&caller.tenant, &id), lifetime).await?;
    let body = json!({
        "id": id,
        "source": Source::Upload(id),
        "method": "PUT",
        "url": url,
        "expires_in_s": lifetime.as_secs(),
        "max_bytes": shared.store.config().max_bytes,
    });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
