//! A JSON value a line.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;

use super::BODY_TIME;
use super::memory::{Memory, Reserved};
use super::refused::{swallow, too_large};
use crate::problem::Problem;

/// Media type of such a text.
pub(crate) const JSON_LINES: &str = "application/x-ndjson";

/// A text that has arrived whole, and the memory that it takes.
pub(crate) struct Lines {
    pub(crate) text: Vec<u8>,
    memory: Reserved,
}

/// Reads a text of at most `most` bytes. Its media type must say what it is: pages of other sites can send other types
/// without a preflight request.
pub(crate) async fn read_lines(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    memory: &Memory,
) -> Result<Lines, Problem> {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(JSON_LINES) {
        let detail = format!("the body must be sent with Content-Type: {JSON_LINES}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json_lines", detail));
    }
    let mut stream = body.into_data_stream();
    let reading = async {
        let mut lines = Lines { text: Vec::new(), memory: memory.reserve() };
        while let Some(part) = stream.next().await {
            let part = part.map_err(|_| too_large(most))?;
            if lines.text.len() + part.len() > most {
                swallow(&mut stream).await;
                return Err(too_large(most));
            }
            lines.memory.grow_to(lines.text.len() + part.len())?;
            lines.text.extend_from_slice(&part);
        }
        Ok(lines)
    };
    tokio::time::timeout(BODY_TIME, reading).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail))
    })
}
