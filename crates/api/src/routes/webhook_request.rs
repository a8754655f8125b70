//! The body of a request for a webhook.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use uso_queue::{FieldError, MAX_URL, State as JobState};
use uso_store::address_guard;

/// Ends of jobs; the name of an event is `job.` and one of these.
const ENDS: [JobState; 4] = [JobState::Succeeded, JobState::Failed, JobState::Canceled, JobState::Expired];

/// The name of an event.
pub(crate) struct EventName;

impl JsonSchema for EventName {
    fn schema_name() -> Cow<'static, str> {
        "WebhookEvent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "How a job ended.", "type": "string", "enum": ENDS.map(event_name) })
    }
}

/// The schema of such a body; `private` is whether webhooks may lead to private addresses, and over plain http.
pub(super) fn schema(private: bool) -> impl FnOnce(&mut SchemaGenerator) -> Value {
    let (description, pattern) = match private {
        true => ("Its address, without a user name and a password.", "^https?://"),
        false => ("Its address: a public one, without a user name and a password.", "^https://"),
    };
    move |schemas| {
        json!({
            "description": "An endpoint that is called when jobs end.",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "url": {
                    "description": description,
                    "type": "string",
                    "format": "uri",
                    "pattern": pattern,
                    "maxLength": MAX_URL,
                },
                "events": {
                    "description": "The events that it gets; all by default.",
                    "type": ["array", "null"],
                    "items": schemas.subschema_for::<EventName>(),
                    "minItems": 1,
                },
            },
            "required": ["url"],
        })
    }
}

/// The endpoint's address and its events, which are all if the body names none.
pub(super) fn read(body: &Value, allow_private: bool) -> Result<(String, Vec<JobState>), Vec<FieldError>> {
    let fault = |pointer: String, code, message: String| FieldError { pointer, code, message };
    let Value::Object(fields) = body else {
        return Err(vec![fault(String::new(), "wrong_type", "the body must be a JSON object".into())]);
    };
    let known = |name: &str| matches!(name, "url" | "events");
    let unknown = fields.keys().filter(|name| !known(name));
    let mut errors: Vec<FieldError> = unknown.map(|name| FieldError::unknown(name)).collect();
    let url = fields.get("url").and_then(Value::as_str).unwrap_or_default();
    if url.len() > MAX_URL {
        errors.push(fault("/url".into(), "too_long", format!("at most {MAX_URL} bytes are allowed")));
    } else if let Err(message) = address_guard::check_url(url, allow_private) {
        errors.push(fault("/url".into(), "invalid_url", message));
    }
    let mut events = Vec::new();
    match fields.get("events") {
        None | Some(Value::Null) => events.extend(ENDS),
        Some(Value::Array(words)) if !words.is_empty() => {
            for (i, word) in words.iter().enumerate() {
                match ENDS.into_iter().find(|end| word.as_str() == Some(event_name(*end).as_str())) {
                    Some(end) => events.push(end),
                    None => {
                        let names = ENDS.map(event_name).join(", ");
                        let message = format!("must be one of: {names}");
                        errors.push(fault(format!("/events/{i}"), "not_a_choice", message));
                    }
                }
            }
        }
        Some(_) => {
            let message = "must be an array of at least one event's name".into();
            errors.push(fault("/events".into(), "wrong_type", message));
        }
    }
    if errors.is_empty() { Ok((url.to_owned(), events)) } else { Err(errors) }
}

pub(super) fn event_name(end: JobState) -> String {
    format!("job.{}", end.as_str())
}
