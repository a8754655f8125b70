//! `GET /examples/{name}`: the pictures of the examples.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

/// A picture of an example.
pub(crate) async fn picture(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    shared.examples.answer(&name, &headers).ok_or_else(Problem::no_such_route)
}
