//! What operations on a batch have in common.

use axum::http::StatusCode;

use crate::openapi::operation::Operation;
use crate::openapi::parts;

/// An operation on one batch.
pub(super) fn on_batch(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary)
        .parameter(parts::batch_id())
        .refuses(StatusCode::NOT_FOUND, &["no_such_batch"])
}

/// An operation on one batch that must be a data set.
pub(super) fn on_dataset(id: &'static str, summary: &'static str) -> Operation {
    on_batch(id, summary).refuses(StatusCode::CONFLICT, &["not_a_dataset"])
}
