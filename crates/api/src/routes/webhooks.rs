//! `/v1/webhooks`: endpoints that are told when jobs end, and what became of it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value};
use uso_queue::{DEFAULT_WEBHOOK, Delivery, FieldError, MAX_URL, State as JobState, Webhook};
use uso_store::outside;

use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::notify::secret_text;
use crate::path::Path;
use crate::{Problem, Shared};

/// What events are called: these, with `job.` before them.
const ENDS: [JobState; 4] = [JobState::Succeeded, JobState::Failed, JobState::Canceled, JobState::Expired];

/// A tenant's endpoints.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WebhookList {
    /// The oldest first.
    webhooks: Vec<Endpoint>,
}

/// An endpoint that is told when jobs end.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub(crate) struct Endpoint {
    /// Its name.
    id: String,
    /// Where it is.
    url: String,
    /// What it is told of.
    #[schemars(with = "Vec<EventName>")]
    events: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    created_ms: u64,
    /// Why nothing is sent to it for now.
    disabled: Option<String>,
}

/// An endpoint with the secret that what is sent to it is signed with.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookWithSecret")]
pub(crate) struct EndpointWithSecret {
    #[serde(flatten)]
    endpoint: Endpoint,
    /// As Standard Webhooks writes it; it is shown this once.
    secret: String,
}

/// What signs what is sent to addresses that jobs name themselves.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DefaultSecret {
    /// As Standard Webhooks writes it.
    key: String,
}

/// What was sent to an endpoint lately.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DeliveryList {
    /// The newest first.
    deliveries: Vec<Delivery>,
}

/// The name of an event that endpoints are told of.
pub(crate) struct EventName;

impl JsonSchema for EventName {
    fn schema_name() -> Cow<'static, str> {
        "WebhookEvent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "How a job ended.", "type": "string", "enum": ENDS.map(event_name) })
    }
}

pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_json(&headers, body, MAX_BODY).await?;
    let (url, events) = read(&body, shared.config.private_webhooks).map_err(Problem::fields)?;
    let made = shared.queue.add_webhook(&caller.tenant, &url, &events).await?;
    let hook = made.ok_or_else(|| {
        let detail = "there are as many webhooks as a tenant may have; delete one first";
        Problem::new(StatusCode::CONFLICT, "too_many_webhooks", detail)
    })?;
    Ok((StatusCode::CREATED, with_secret(&hook)).into_response())
}

pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Problem> {
    let hooks = shared.queue.webhooks(&caller.tenant).await?;
    let hooks = hooks.iter().filter(|hook| hook.id != DEFAULT_WEBHOOK);
    Ok(Json(WebhookList { webhooks: hooks.map(describe).collect() }).into_response())
}

pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if id == DEFAULT_WEBHOOK {
        let detail =
            "its secret signs what jobs ask for themselves; it can be rotated or disabled, not deleted";
        return Err(Problem::new(StatusCode::CONFLICT, "default_webhook", detail));
    }
    match shared.queue.drop_webhook(&caller.tenant, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_such_webhook()),
    }
}

/// Draws a new secret; the one before goes on signing for a day.
pub(crate) async fn rotate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    have_default(&shared, &caller, &id).await?;
    let hook = shared.queue.rotate_webhook(&caller.tenant, &id).await?;
    Ok(with_secret(&hook.ok_or_else(no_such_webhook)?).into_response())
}

pub(crate) async fn disable(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    switch(&shared, &caller, &id, Some("its owner asked for it")).await
}

pub(crate) async fn enable(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    switch(&shared, &caller, &id, None).await
}

async fn switch(
    shared: &Shared,
    caller: &Caller,
    id: &str,
    disabled: Option<&str>,
) -> Result<Response, Problem> {
    have_default(shared, caller, id).await?;
    let hook = shared.queue.switch_webhook(&caller.tenant, id, disabled).await?;
    Ok(Json(describe(&hook.ok_or_else(no_such_webhook)?)).into_response())
}

/// What was sent to an endpoint lately, and what became of it.
pub(crate) async fn deliveries(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    have_default(&shared, &caller, &id).await?;
    let hooks = shared.queue.webhooks(&caller.tenant).await?;
    if !hooks.iter().any(|hook| hook.id == id) {
        return Err(no_such_webhook());
    }
    let deliveries = shared.queue.deliveries(&caller.tenant, &id).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(DeliveryList { deliveries })).into_response())
}

/// What signs all that is sent to addresses that jobs name themselves.
pub(crate) async fn default_secret(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Response, Problem> {
    let hook = shared.queue.default_webhook(&caller.tenant).await?;
    let body = DefaultSecret { key: secret_text(&hook.secret) };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Every tenant has the endpoint that stands for those addresses, whether it was needed before or not.
async fn have_default(shared: &Shared, caller: &Caller, id: &str) -> Result<(), Problem> {
    if id == DEFAULT_WEBHOOK {
        shared.queue.default_webhook(&caller.tenant).await?;
    }
    Ok(())
}

/// Makes a delivery once more.
pub(crate) async fn replay(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let replayed = shared.queue.replay_delivery(&caller.tenant, &id, &delivery).await?;
    let replayed = replayed.ok_or_else(|| {
        let detail = "there is no such delivery, or its time is over";
        Problem::new(StatusCode::NOT_FOUND, "no_such_delivery", detail)
    })?;
    Ok((StatusCode::ACCEPTED, Json(replayed)).into_response())
}

/// Reads a request for an endpoint: its address, and the events it asks for, which are all if it names none.
fn read(body: &Value, allow_private: bool) -> Result<(String, Vec<JobState>), Vec<FieldError>> {
    let fault = |pointer: String, code, message: String| FieldError { pointer, code, message };
    let Value::Object(fields) = body else {
        return Err(vec![fault(String::new(), "wrong_type", "the body must be a JSON object".into())]);
    };
    let mut errors: Vec<FieldError> = unknown(fields);
    let url = fields.get("url").and_then(Value::as_str).unwrap_or_default();
    if url.len() > MAX_URL {
        errors.push(fault("/url".into(), "too_long", format!("at most {MAX_URL} bytes are allowed")));
    } else if let Err(message) = outside::check_url(url, allow_private) {
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

fn unknown(fields: &Map<String, Value>) -> Vec<FieldError> {
    let names = fields.keys().filter(|name| !matches!(name.as_str(), "url" | "events"));
    names
        .map(|name| FieldError {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            code: "unknown_field",
            message: "no such field".into(),
        })
        .collect()
}

fn event_name(end: JobState) -> String {
    format!("job.{}", end.as_str())
}

fn describe(hook: &Webhook) -> Endpoint {
    Endpoint {
        id: hook.id.clone(),
        url: hook.url.clone(),
        events: hook.events.iter().map(|end| event_name(*end)).collect(),
        created_ms: hook.created_ms,
        disabled: hook.disabled.clone(),
    }
}

/// The only answers that hold a secret.
fn with_secret(hook: &Webhook) -> impl IntoResponse {
    let body = EndpointWithSecret { endpoint: describe(hook), secret: secret_text(&hook.secret) };
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

fn no_such_webhook() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_webhook", "there is no such webhook")
}
