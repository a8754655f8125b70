//! Bodies that are refused.

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use futures::StreamExt;

use crate::problem::Problem;

/// Bytes of a refused body that are still read: most clients read an answer only when they have sent everything.
const SWALLOWED: usize = 32 * 1024 * 1024;

pub(super) fn too_large(most: usize) -> Problem {
    let detail = format!("the body must arrive whole and have at most {most} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// Reads the rest of a refused body, unless it is too long.
pub(super) async fn swallow(stream: &mut BodyDataStream) {
    let mut left = SWALLOWED;
    while let Some(Ok(chunk)) = stream.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
