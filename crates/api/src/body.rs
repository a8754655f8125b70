//! Bodies of requests: bounded in size, in time, and in the memory that their values take.

pub(crate) mod form;
pub(crate) mod lines;
pub(crate) mod memory;
mod refused;
pub(crate) mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde_json::Value;

use crate::problem::Problem;
use memory::{Memory, Reserved};
use refused::{swallow, too_large};
use text::{Enclosed, Text};

/// Largest body of a single job, in bytes: the longest prompt with every character escaped, and some more.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// Largest body of a batch, and the largest rest of a body beside its pictures, in bytes.
pub(crate) const MAX_LARGE_BODY: usize = 1024 * 1024;
/// Longest time a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(20);

/// A JSON body that may contain pictures.
pub(crate) struct PredictionBody {
    /// The values; in place of a long picture stands a name in [`PredictionBody::pictures`].
    pub(crate) json: Value,
    pub(crate) pictures: BTreeMap<String, Enclosed>,
    /// The memory that the pictures take.
    _memory: Reserved,
}

/// Reads a JSON body. Its media type must say so: pages of other sites can send other types without a preflight
/// request.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, most: usize) -> Result<Value, Problem> {
    let text = Text::new(most, None);
    Ok(read(headers, body, most, text).await?.finish()?.0)
}

/// Reads a JSON body of at most `most` bytes that may contain pictures of at most `most_picture` bytes. Pictures are
/// decoded as they arrive; the rest is bounded as in other bodies.
pub(crate) async fn read_with_pictures(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    most_picture: u64,
    memory: &Memory,
) -> Result<PredictionBody, Problem> {
    let text = Text::new(MAX_LARGE_BODY, Some((most_picture, memory.reserve())));
    let (json, pictures, memory) = read(headers, body, most, text).await?.finish()?;
    Ok(PredictionBody { json, pictures, _memory: memory })
}

async fn read(headers: &HeaderMap, body: Body, most: usize, mut text: Text) -> Result<Text, Problem> {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let detail = "the body must be sent with Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    let mut stream = body.into_data_stream();
    let reading = async {
        let mut size = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| too_large(most))?;
            size += chunk.len();
            let taken = if size > most { Err(too_large(most)) } else { text.take(&chunk) };
            if let Err(problem) = taken {
                swallow(&mut stream).await;
                return Err(problem);
            }
        }
        Ok(text)
    };
    tokio::time::timeout(BODY_TIME, reading).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail))
    })
}
