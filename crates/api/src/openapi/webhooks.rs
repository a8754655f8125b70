//! Webhooks.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uso_queue::{Delivery, MAX_URL};

use super::operation::Operation;
use super::{Table, named, parts};
use crate::routes::webhooks::{self, DefaultSecret, DeliveryList, Endpoint, EndpointWithSecret, WebhookList};

/// Which webhook an operation is on.
const WHICH: &str = "The webhook; `default` stands for all addresses that jobs name themselves.";

/// `private` is whether they may lead to private addresses, and over plain http.
pub(super) fn add(table: &mut Table, private: bool) {
    let request = request(table, private);
    table.define("WebhookRequest", request);
    table.tag("Webhooks", "Endpoints that are told when jobs end, as Standard Webhooks says.");
    table.post("/v1/webhooks", webhooks::create, create());
    let list = Operation::new("listWebhooks", "List your webhooks");
    let list = list.gives::<WebhookList>(StatusCode::OK, "All of them.", &[]);
    table.get("/v1/webhooks", webhooks::list, list);
    let delete = on_webhook("deleteWebhook", "Delete a webhook");
    let delete = delete
        .gives_nothing(StatusCode::NO_CONTENT, "It is gone.", &[])
        .refuses(StatusCode::CONFLICT, &["default_webhook"]);
    table.delete("/v1/webhooks/{id}", webhooks::delete, delete);
    let rotate = on_webhook("rotateSecret", "Draw a new secret")
        .says("The one before goes on signing for a day.")
        .gives::<EndpointWithSecret>(StatusCode::OK, "The webhook with its new secret.", &[]);
    table.post("/v1/webhooks/{id}/rotate", webhooks::rotate, rotate);
    let switch = |id, summary| {
        on_webhook(id, summary).gives::<Endpoint>(StatusCode::OK, "The webhook as it is now.", &[])
    };
    table.post("/v1/webhooks/{id}/disable", webhooks::disable, switch("disableWebhook", "Disable a webhook"));
    table.post("/v1/webhooks/{id}/enable", webhooks::enable, switch("enableWebhook", "Enable a webhook"));
    let deliveries = on_webhook("listDeliveries", "List what was sent to a webhook lately");
    let deliveries = deliveries.gives::<DeliveryList>(StatusCode::OK, "The newest deliveries.", &[]);
    table.get("/v1/webhooks/{id}/deliveries", webhooks::deliveries, deliveries);
    table.post("/v1/webhooks/{id}/deliveries/{delivery}/replay", webhooks::replay, replay());
    let secret = Operation::new("getDefaultSecret", "Show the secret of the webhook `default`")
        .says("It signs what is sent to the addresses that jobs name themselves.")
        .gives::<DefaultSecret>(StatusCode::OK, "The secret.", &[]);
    table.get("/v1/webhooks/default/secret", webhooks::default_secret, secret);
}

fn request(table: &mut Table, private: bool) -> Value {
    let (description, pattern) = match private {
        true => ("Where it is, without a name and a password.", "^https?://"),
        false => ("Where it is: a public address, without a name and a password.", "^https://"),
    };
    json!({
        "description": "An endpoint to be told when jobs end.",
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
                "description": "What it is to be told of; everything if it is left out.",
                "type": ["array", "null"],
                "items": table.schemas.subschema_for::<webhooks::EventName>(),
                "minItems": 1,
            },
        },
        "required": ["url"],
    })
}

/// What can be done to a webhook.
const ON_WEBHOOK: [&str; 5] =
    ["listDeliveries", "rotateSecret", "disableWebhook", "enableWebhook", "deleteWebhook"];

/// An operation on one webhook.
fn on_webhook(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary).parameter(webhook_id()).refuses(StatusCode::NOT_FOUND, &["no_such_webhook"])
}

fn webhook_id() -> Value {
    parts::in_path("id", WHICH, json!({ "type": "string", "pattern": "^([0-9A-Za-z]{8}|default)$" }))
}

fn create() -> Operation {
    let url = "https://example.com/hooks/uso";
    let failures = json!({ "url": url, "events": ["job.failed", "job.expired"] });
    Operation::new("createWebhook", "Create a webhook")
        .takes(named("WebhookRequest"), [("All ends", json!({ "url": url })), ("Failures", failures)])
        .gives::<EndpointWithSecret>(StatusCode::CREATED, "The webhook with its secret.", &[])
        .leads_to(&ON_WEBHOOK)
        .refuses(StatusCode::CONFLICT, &["too_many_webhooks"])
}

fn replay() -> Operation {
    let name = json!({ "type": "string", "minLength": 1 });
    Operation::new("replayDelivery", "Make a delivery once more")
        .parameter(webhook_id())
        .parameter(parts::in_path("delivery", "The delivery.", name))
        .gives::<Delivery>(StatusCode::ACCEPTED, "The delivery, which is due again.", &[])
        .refuses(StatusCode::NOT_FOUND, &["no_such_delivery"])
}
