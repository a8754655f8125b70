//! `GET /openapi.json`: the document that describes the API.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::files::Files;
use crate::openapi::operation::Operation;
use crate::openapi::parts::{self, ETAG};
use crate::problem::Problem;
use crate::shared::Shared;

/// The document's name.
const NAME: &str = "openapi.json";

/// The document as a file.
pub(crate) fn file(document: Vec<u8>) -> Files {
    Files::new([(NAME.to_owned(), document)])
}

pub(crate) fn show_operation() -> Operation {
    let known = parts::in_header(
        "If-None-Match",
        "The `ETag` of the document that you have.",
        json!({ "type": "string" }),
    );
    Operation::new("getDocument", "Read this document")
        .parameter(known)
        .gives::<Map<String, Value>>(StatusCode::OK, "OpenAPI 3.1.", &[ETAG])
        .gives_nothing(StatusCode::NOT_MODIFIED, "The document that you have is the newest.", &[ETAG])
}

pub(crate) async fn show(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Problem> {
    shared.document.answer(NAME, &headers).ok_or_else(Problem::no_such_route)
}
