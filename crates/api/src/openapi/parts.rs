//! Parameters and headers that several operations have in common.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Value, json};
use uso_queue::{BatchId, EventId, JobId, MAX_KEY};

use super::schema::reference;

/// A header of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// Whether it is always there.
    pub(crate) always: bool,
    /// Of the schema.
    pub(crate) kind: &'static str,
}

impl Header {
    const fn always(name: &'static str, description: &'static str) -> Self {
        Self { name, description, always: true, kind: "string" }
    }

    const fn sometimes(name: &'static str, description: &'static str) -> Self {
        Self { always: false, ..Self::always(name, description) }
    }
}

pub(crate) const LOCATION: Header = Header::always("Location", "The address.");
pub(crate) const PREFERENCE_APPLIED: Header =
    Header::sometimes("Preference-Applied", "The wait that was applied: `wait=N`.");
pub(crate) const RATE_LIMIT: Header = Header::sometimes(
    "RateLimit",
    "What is left of the tenant's rate, if it has one: jobs, and seconds until all of it is available again.",
);
pub(crate) const RATE_LIMIT_POLICY: Header = Header::sometimes(
    "RateLimit-Policy",
    "The tenant's rate: jobs, and the seconds in which they may be submitted.",
);
pub(crate) const ETAG: Header = Header::always("ETag", "Changes with the content.");
pub(crate) const SET_COOKIE: Header =
    Header::always("Set-Cookie", "The session, which pages cannot read, and `uso_csrf`, which they can.");
const RETRY_AFTER: Header = Header {
    kind: "integer",
    ..Header::always("Retry-After", "Seconds after which the same request may succeed.")
};
const CHALLENGE: Header = Header::always("WWW-Authenticate", "What is missing.");

/// The headers of refusals with a status.
pub(crate) fn of_refusal(status: StatusCode) -> &'static [Header] {
    match status {
        StatusCode::UNAUTHORIZED => &[CHALLENGE],
        StatusCode::SERVICE_UNAVAILABLE => &[RETRY_AFTER],
        StatusCode::TOO_MANY_REQUESTS => &[RETRY_AFTER, RATE_LIMIT, RATE_LIMIT_POLICY],
        _ => &[],
    }
}

pub(crate) fn in_path(name: &str, description: &str, schema: Value) -> Value {
    json!({ "in": "path", "name": name, "description": description, "required": true, "schema": schema })
}

pub(crate) fn in_query(name: &str, description: &str, schema: Value) -> Value {
    // An empty one counts as left out.
    json!({
        "in": "query", "name": name, "description": description, "allowEmptyValue": true, "schema": schema,
    })
}

pub(crate) fn in_header(name: &str, description: &str, schema: Value) -> Value {
    json!({ "in": "header", "name": name, "description": description, "schema": schema })
}

pub(crate) fn job_id() -> Value {
    in_path("id", "The job.", reference::<JobId>())
}

pub(crate) fn batch_id() -> Value {
    in_path("id", "The batch.", reference::<BatchId>())
}

pub(crate) fn idempotency_key() -> Value {
    let description = "If you send the same key and request again within a day, you get the same answer, not a \
                       second job.";
    // Visible characters; blanks only between them.
    let pattern = "^[!-~]([ -~]*[!-~])?$";
    let schema = json!({ "type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": pattern });
    in_header("Idempotency-Key", description, schema)
}

/// Parameters of a list of pages.
pub(crate) fn limit(most: usize, usual: usize) -> Value {
    let schema = json!({ "type": "integer", "minimum": 1, "maximum": most, "default": usual });
    in_query("limit", "Most entries of a page.", schema)
}

pub(crate) fn cursor<T: JsonSchema>() -> Value {
    in_query("cursor", "The `next` of the page before, with the same filter.", reference::<T>())
}

/// Parameters of a stream of events.
pub(crate) fn resume_from() -> [Value; 2] {
    let description = "The id of the last event that you got: the stream starts with the events after it. An \
                       EventSource sends it by itself.";
    let after =
        "The same for a page that was reloaded, which cannot send the header. The header takes precedence.";
    // As with a parameter, an empty one counts as left out.
    let header = json!({ "anyOf": [reference::<EventId>(), { "const": "" }] });
    [in_header("Last-Event-ID", description, header), in_query("after", after, reference::<EventId>())]
}
