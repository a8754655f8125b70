//! Requests that are repeated under their idempotency key.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Response;
use serde_json::{Value, json};
use uso_api::Config;
use uso_queue::{Defaults, Limits};
use uso_store::upload_key;
use uuid::Uuid;

use crate::fixture::{Fixture, problem};
use crate::uploads::{png, upload};

async fn ask(fixture: &Fixture, path: &str, body: &Value) -> Response {
    let request = fixture.client.post(fixture.url(path)).header("idempotency-key", "k");
    request.json(body).send().await.unwrap()
}

async fn accepted(answer: Response) -> Value {
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

/// The uploads are gone, defaults are others, limits are lower, and the model has another name.
async fn change_everything(fixture: &mut Fixture, uploads: &[&Value]) {
    for upload in uploads {
        let id: Uuid = upload["id"].as_str().unwrap().parse().unwrap();
        fixture.store.delete(&upload_key("default", &id)).await.unwrap();
    }
    let defaults = Defaults { steps: 7, max_step_cache: 0.0, ..Defaults::default() };
    fixture
        .restart_with(|config| {
            config.defaults = defaults;
            config.model = "another".into();
            config.private_webhooks = false;
        })
        .await;
    let limits = Limits { max_queued: Some(0), ..Limits::default() };
    fixture.queue.set_limits("default", &limits).await.unwrap();
}

async fn start() -> Fixture {
    let defaults = Defaults { max_step_cache: 0.5, ..Defaults::default() };
    let config = Config { model: "toy".into(), private_webhooks: true, defaults, ..Config::default() };
    Fixture::start_as(config).await
}

#[tokio::test]
async fn a_job_is_the_same_whatever_has_changed_since() {
    let mut fixture = start().await;
    let upload = upload(&fixture, "image/png", &png(64, 48)).await;
    let webhook = "http://127.0.0.1:9/hook";
    let body = json!({ "content": upload["source"], "step_cache": 0.5, "webhook": webhook });
    let first = accepted(ask(&fixture, "/v1/jobs", &body).await).await;
    change_everything(&mut fixture, &[&upload]).await;
    let again = ask(&fixture, "/v1/jobs", &body).await;
    assert_eq!(
        (again.status(), &again.headers()["location"]),
        (
            reqwest::StatusCode::ACCEPTED,
            &format!("/v1/jobs/{}", first["id"].as_str().unwrap()).parse().unwrap()
        )
    );
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    // Another request under the key is told so, also one that cannot be read.
    for other in [json!({}), json!({ "steps": "many" })] {
        problem(ask(&fixture, "/v1/jobs", &other).await, 422, "idempotency_key_reused").await;
    }
}

#[tokio::test]
async fn the_same_in_other_words_is_the_same_job() {
    let fixture = Fixture::start().await;
    let first = accepted(ask(&fixture, "/v1/jobs", &json!({ "prompt": "a cat" })).await).await;
    for same in [json!({ "prompt": "a cat", "steps": 25.0 }), json!({ "prompt": "a cat", "seed": null })] {
        assert_eq!(accepted(ask(&fixture, "/v1/jobs", &same).await).await["id"], first["id"]);
    }
}

#[tokio::test]
async fn a_batch_is_the_same_whatever_has_changed_since() {
    let mut fixture = start().await;
    let upload = upload(&fixture, "image/png", &png(64, 48)).await;
    let body = json!({ "jobs": [{ "content": upload["source"] }, { "step_cache": 0.5 }], "metadata": 1 });
    let first = accepted(ask(&fixture, "/v1/batches", &body).await).await;
    change_everything(&mut fixture, &[&upload]).await;
    assert_eq!(accepted(ask(&fixture, "/v1/batches", &body).await).await, first);
    let other = json!({ "jobs": [{}] });
    problem(ask(&fixture, "/v1/batches", &other).await, 422, "idempotency_key_reused").await;
}

#[tokio::test]
async fn a_prediction_is_the_same_whatever_has_changed_since() {
    let mut fixture = start().await;
    let upload = upload(&fixture, "image/png", &png(64, 48)).await;
    let picture = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png(32, 32)));
    let input = json!({ "content": upload["source"], "styles": [picture], "step_cache": 0.5 });
    let body = json!({ "version": "uso/toy", "input": input, "webhook": "http://127.0.0.1:9/hook" });
    let first = accepted(ask(&fixture, "/v1/predictions", &body).await).await;
    change_everything(&mut fixture, &[&upload]).await;
    let again = accepted(ask(&fixture, "/v1/predictions", &body).await).await;
    assert_eq!((&again["id"], &again["input"]), (&first["id"], &first["input"]));
    let other = json!({ "version": "uso/toy", "input": {} });
    problem(ask(&fixture, "/v1/predictions", &other).await, 422, "idempotency_key_reused").await;
}
