//! `/v1/webhooks`: endpoints that are called when jobs end, and their deliveries.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uso_queue::{DEFAULT_WEBHOOK, Delivery, Webhook};

use super::webhook_request::{self, EventName, event_name};
use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::notify::sign::secret_text;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

/// A tenant's endpoints.
#[derive(Serialize, JsonSchema)]
struct WebhookList {
    /// The oldest first.
    webhooks: Vec<Endpoint>,
}

/// An endpoint that is called when jobs end.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Webhook")]
struct Endpoint {
    /// Its id.
    id: String,
    /// Its address.
    url: String,
    /// The events that it gets.
    #[schemars(with = "Vec<EventName>")]
    events: Vec<String>,
    /// When it was created, in milliseconds since 1970.
    created_ms: u64,
    /// Why nothing is sent to it for now.
    disabled: Option<String>,
}

/// An endpoint with the secret that signs its deliveries.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookWithSecret")]
struct EndpointWithSecret {
    #[serde(flatten)]
    endpoint: Endpoint,
    /// As Standard Webhooks writes it; you only see it this once.
    secret: String,
}

/// The secret that signs deliveries to addresses that jobs name.
#[derive(Serialize, JsonSchema)]
struct DefaultSecret {
    /// As Standard Webhooks writes it.
    key: String,
}

/// The newest deliveries to an endpoint.
#[derive(Serialize, JsonSchema)]
struct DeliveryList {
    /// The newest first.
    deliveries: Vec<Delivery>,
}

/// Operations on a webhook.
const ON_WEBHOOK: [&str; 5] =
    ["listDeliveries", "rotateSecret", "disableWebhook", "enableWebhook", "deleteWebhook"];

/// An operation on one webhook.
fn on_webhook(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary).parameter(webhook_id()).refuses(StatusCode::NOT_FOUND, &["no_such_webhook"])
}

fn webhook_id() -> Value {
    let description = "The webhook; `default` stands for all addresses that jobs name.";
    let schema = json!({ "type": "string", "pattern": "^([0-9A-Za-z]{8}|default)$" });
    parts::in_path("id", description, schema)
}

/// `private` is whether they may lead to private addresses, and over plain http.
pub(crate) fn create_operation(private: bool) -> Operation {
    let url = "https://example.com/hooks/uso";
    let failures = json!({ "url": url, "events": ["job.failed", "job.expired"] });
    let examples = [("All ends", json!({ "url": url })), ("Failures", failures)];
    Operation::new("createWebhook", "Create a webhook")
        .takes("WebhookRequest", webhook_request::schema(private), examples)
        .gives::<EndpointWithSecret>(StatusCode::CREATED, "The webhook with its secret.", &[])
        .leads_to(&ON_WEBHOOK)
        .refuses(StatusCode::CONFLICT, &["too_many_webhooks"])
}

pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_json(&headers, body, MAX_BODY).await?;
    let (url, events) =
        webhook_request::read(&body, shared.config.private_webhooks).map_err(Problem::fields)?;
    let made = shared.queue.add_webhook(&caller.tenant, &url, &events).await?;
    let hook = made.ok_or_else(|| {
        let detail = "you have as many webhooks as a tenant may have; delete one first";
        Problem::new(StatusCode::CONFLICT, "too_many_webhooks", detail)
    })?;
    Ok((StatusCode::CREATED, with_secret(&hook)).into_response())
}

pub(crate) fn list_operation() -> Operation {
    let operation = Operation::new("listWebhooks", "List your webhooks");
    operation.gives::<WebhookList>(StatusCode::OK, "All of them.", &[])
}

pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Problem> {
    let hooks = shared.queue.webhooks(&caller.tenant).await?;
    let hooks = hooks.iter().filter(|hook| hook.id != DEFAULT_WEBHOOK);
    Ok(Json(WebhookList { webhooks: hooks.map(describe).collect() }).into_response())
}

pub(crate) fn delete_operation() -> Operation {
    on_webhook("deleteWebhook", "Delete a webhook")
        .gives_nothing(StatusCode::NO_CONTENT, "The webhook is deleted.", &[])
        .refuses(StatusCode::CONFLICT, &["default_webhook"])
}

pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if id == DEFAULT_WEBHOOK {
        let detail = "its secret signs deliveries to addresses that jobs name; you can rotate or disable it, not delete it";
        return Err(Problem::new(StatusCode::CONFLICT, "default_webhook", detail));
    }
    match shared.queue.drop_webhook(&caller.tenant, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_such_webhook()),
    }
}

pub(crate) fn rotate_operation() -> Operation {
    on_webhook("rotateSecret", "Create a new secret")
        .says("The old one still signs for a day.")
        .gives::<EndpointWithSecret>(StatusCode::OK, "The webhook with its new secret.", &[])
}

/// Creates a new secret; the old one still signs for a day.
pub(crate) async fn rotate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    have_default(&shared, &caller, &id).await?;
    let hook = shared.queue.rotate_webhook(&caller.tenant, &id).await?;
    Ok(with_secret(&hook.ok_or_else(no_such_webhook)?).into_response())
}

pub(crate) fn disable_operation() -> Operation {
    on_webhook("disableWebhook", "Disable a webhook").gives::<Endpoint>(
        StatusCode::OK,
        "The webhook as it is now.",
        &[],
    )
}

pub(crate) async fn disable(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    switch(&shared, &caller, &id, Some("you disabled it")).await
}

pub(crate) fn enable_operation() -> Operation {
    on_webhook("enableWebhook", "Enable a webhook").gives::<Endpoint>(
        StatusCode::OK,
        "The webhook as it is now.",
        &[],
    )
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

pub(crate) fn deliveries_operation() -> Operation {
    let operation = on_webhook("listDeliveries", "List the newest deliveries to a webhook");
    operation.gives::<DeliveryList>(StatusCode::OK, "The newest deliveries.", &[])
}

/// The newest deliveries to an endpoint, with their results.
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

pub(crate) fn default_secret_operation() -> Operation {
    Operation::new("getDefaultSecret", "Show the secret of the webhook `default`")
        .says("It signs deliveries to the addresses that jobs name.")
        .gives::<DefaultSecret>(StatusCode::OK, "The secret.", &[])
}

/// The secret that signs all deliveries to addresses that jobs name.
pub(crate) async fn default_secret(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Response, Problem> {
    let hook = shared.queue.default_webhook(&caller.tenant).await?;
    let body = DefaultSecret { key: secret_text(&hook.secret) };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Creates the endpoint that stands for those addresses, if the tenant does not have it yet.
async fn have_default(shared: &Shared, caller: &Caller, id: &str) -> Result<(), Problem> {
    if id == DEFAULT_WEBHOOK {
        shared.queue.default_webhook(&caller.tenant).await?;
    }
    Ok(())
}

pub(crate) fn replay_operation() -> Operation {
    let name = json!({ "type": "string", "minLength": 1 });
    Operation::new("replayDelivery", "Repeat a delivery")
        .parameter(webhook_id())
        .parameter(parts::in_path("delivery", "The delivery.", name))
        .gives::<Delivery>(StatusCode::ACCEPTED, "The delivery, which is due again.", &[])
        .refuses(StatusCode::NOT_FOUND, &["no_such_delivery"])
}

/// Repeats a delivery.
pub(crate) async fn replay(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let replayed = shared.queue.replay_delivery(&caller.tenant, &id, &delivery).await?;
    let replayed = replayed.ok_or_else(|| {
        let detail = "there is no such delivery, or it has expired";
        Problem::new(StatusCode::NOT_FOUND, "no_such_delivery", detail)
    })?;
    Ok((StatusCode::ACCEPTED, Json(replayed)).into_response())
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

/// The only answers with an endpoint's secret.
fn with_secret(hook: &Webhook) -> impl IntoResponse {
    let body = EndpointWithSecret { endpoint: describe(hook), secret: secret_text(&hook.secret) };
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

fn no_such_webhook() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_webhook", "there is no such webhook")
}
