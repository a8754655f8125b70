//! Bodies of requests: bounded in size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::Problem;

/// Largest body of a single thing: the longest prompt with every character escaped, and some more.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// Longest time a client may take to send one.
const BODY_TIME: Duration = Duration::from_secs(20);

/// Only JSON that says so: other types can be sent by any web page without asking first.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, most: usize) -> Result<Value, Problem> {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let detail = "the body must be sent with Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, most)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let detail = format!("the body must arrive whole and have at most {most} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {error}"))
    })
}
