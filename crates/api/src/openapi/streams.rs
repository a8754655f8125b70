//! Streams of events.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Value, json};
use uso_queue::{EventId, JobEvent};

use super::operation::Operation;
use super::parts;
use super::schema::reference;

/// What events are called.
const NAMES: [&str; 12] = [
    "snapshot",
    "queued",
    "started",
    "progress",
    "preview",
    "set_aside",
    "resumed",
    "requeued",
    "succeeded",
    "failed",
    "canceled",
    "expired",
];

/// An operation that answers with server-sent events, of which a snapshot has a `T`.
pub(crate) fn stream<T: JsonSchema>(operation: Operation, description: &'static str) -> Operation {
    operation
        .names::<T>()
        .names::<JobEvent>()
        .parameters(parts::resume_from())
        .gives_other("text/event-stream", event::<T>(), description)
        .refuses(StatusCode::BAD_REQUEST, &["invalid_event_id"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["stopping"])
}

/// Before version 3.2, the schema of a stream is that of each of its events.
fn event<T: JsonSchema>() -> Value {
    json!({
        "description": "One event of the stream.",
        "type": "object",
        "properties": {
            "id": reference::<EventId>(),
            "event": { "description": "What happened.", "type": "string", "enum": NAMES },
            "data": {
                "description": format!(
                    "JSON: a `{}` for `snapshot`, a `JobEvent` for the others.", T::schema_name(),
                ),
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": { "anyOf": [reference::<T>(), reference::<JobEvent>()] },
            },
            "retry": {
                "description": "The process stops: reconnect after so many milliseconds.",
                "type": "integer",
            },
        },
    })
}
