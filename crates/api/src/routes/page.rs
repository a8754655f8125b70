//! The web page: `/` and what it is made of.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

pub(crate) async fn index(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&shared, "index.html", &headers)
}

pub(crate) async fn file(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&shared, &name, &headers)
}

fn answer(shared: &Shared, name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    shared.page.answer(name, headers).ok_or_else(Problem::no_such_route)
}
