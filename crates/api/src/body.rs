//! Bodies of requests: bounded in size, time and in what becomes of them in memory.

pub(crate) mod form;
mod room;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

use crate::Problem;
pub(crate) use room::{Held, Room};
use text::Text;

/// Largest body of a single thing: the longest prompt with every character escaped, and some more.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// Largest body of many things, and what one may have beside the pictures in it.
pub(crate) const MAX_LARGE_BODY: usize = 1024 * 1024;
/// Longest time a client may take to send one.
const BODY_TIME: Duration = Duration::from_secs(20);
/// How much of a body that is refused is read all the same: most clients look for an answer only when they have sent
/// everything.
const SWALLOWED: usize = 32 * 1024 * 1024;

/// A picture that was in a body, or what is wrong with it.
pub(crate) type Enclosed = Result<Bytes, (&'static str, String)>;

/// A body in which pictures may be.
pub(crate) struct Letter {
    /// What it says; a long picture is a word that [`Letter::pictures`] knows.
    pub(crate) body: Value,
    pub(crate) pictures: BTreeMap<String, Enclosed>,
    /// The memory that they take.
    _held: Held,
}

/// Only JSON that says so: other types can be sent by any web page without asking first.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, most: usize) -> Result<Value, Problem> {
    let text = Text::new(most, None);
    Ok(read(headers, body, most, text).await?.finish()?.0)
}

/// The same, of a body of at most `most` bytes in which pictures of at most `most_picture` bytes may be: they are
/// decoded while they come, and all else is bounded as in other bodies.
pub(crate) async fn read_letter(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    most_picture: u64,
    room: &Room,
) -> Result<Letter, Problem> {
    let text = Text::new(MAX_LARGE_BODY, Some((most_picture, room.held())));
    let (body, pictures, held) = read(headers, body, most, text).await?.finish()?;
    Ok(Letter { body, pictures, _held: held })
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

fn too_large(most: usize) -> Problem {
    let detail = format!("the body must arrive whole and have at most {most} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// Reads the rest of a body that is refused, if there is not too much of it.
pub(crate) async fn swallow(stream: &mut BodyDataStream) {
    let mut left = SWALLOWED;
    while let Some(Ok(chunk)) = stream.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
