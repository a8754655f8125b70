//! Submitting once, cancelling, repeating, and limits.

use reqwest::Response;
use serde_json::{Value, json};
use uso_queue::{Failure, Limits};

use crate::fixture::{Fixture, problem};

async fn submit(fixture: &Fixture, key: &str, body: &Value) -> Response {
    let request = fixture.client.post(fixture.url("/v1/jobs")).header("Idempotency-Key", key);
    request.json(body).send().await.unwrap()
}

#[tokio::test]
async fn a_repeated_request_with_the_same_key_gives_the_same_job_and_seed() {
    let fixture = Fixture::start().await;
    let body = json!({ "prompt": "a cat" });
    let first: Value = submit(&fixture, "k", &body).await.json().await.unwrap();
    let again = submit(&fixture, "k", &body).await;
    assert_eq!(again.status(), 202);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let other = json!({ "prompt": "a dog" });
    let body = problem(submit(&fixture, "k", &other).await, 422, "idempotency_key_reused").await;
    assert!(body["detail"].as_str().unwrap().contains(first["id"].as_str().unwrap()));
    problem(submit(&fixture, &"k".repeat(256), &other).await, 400, "invalid_idempotency_key").await;
    problem(submit(&fixture, "", &other).await, 400, "invalid_idempotency_key").await;
}

#[tokio::test]
async fn a_job_is_canceled_once_and_for_all() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    let path = format!("/v1/jobs/{id}/cancel");
    let first = fixture.post(&path, &json!({})).await;
    assert_eq!(first.status(), 202);
    let first: Value = first.json().await.unwrap();
    assert_eq!((&first["state"], &first["aborted"]), (&json!("canceled"), &json!(true)));
    let again: Value = fixture.post(&path, &json!({})).await.json().await.unwrap();
    assert_eq!(again, first);

    let id = fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;
    let answer = fixture.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await;
    let body = problem(answer, 409, "already_ended").await;
    assert_eq!(body["detail"], "the job succeeded and can no longer be canceled");
    problem(fixture.post("/v1/jobs/x/cancel", &json!({})).await, 404, "no_such_job").await;
}

#[tokio::test]
async fn an_ended_job_is_repeated_as_a_new_one() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    let path = format!("/v1/jobs/{id}/retry");
    problem(fixture.post(&path, &json!({})).await, 409, "not_finished").await;
    let failure =
        Failure { code: "broke".into(), message: "it broke".into(), retryable: false, ..Failure::default() };
    fixture.claim().await.fail(&failure).await.unwrap();
    let answer = fixture.post(&path, &json!({})).await;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let view: Value = fixture.get(&location).await.json().await.unwrap();
    assert_eq!((&view["state"], &view["retry_of"]), (&json!("queued"), &json!(id)));
    let again = fixture.post(&path, &json!({})).await;
    assert_eq!(again.headers()["location"].to_str().unwrap(), location);
}

#[tokio::test]
async fn a_tenant_over_its_limits_is_told_when_to_come_back() {
    let fixture = Fixture::start().await;
    let limits = Limits { max_queued: Some(1), ..Limits::default() };
    fixture.queue.set_limits("default", &limits).await.unwrap();
    fixture.submit("a cat").await;
    let answer = fixture.post("/v1/jobs", &json!({})).await;
    assert!(answer.headers().contains_key("retry-after"));
    let body = problem(answer, 429, "too_many_queued").await;
    assert_eq!(body["retryable"], true);
    assert_eq!(body["detail"], "1 jobs wait already; the limit is 1");

    let limits = Limits { per_second: Some(0.1), burst: Some(1.0), ..Limits::default() };
    fixture.queue.set_limits("default", &limits).await.unwrap();
    fixture.submit("a cat").await;
    let answer = fixture.post("/v1/jobs", &json!({})).await;
    let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&after), "{after}");
    problem(answer, 429, "too_fast").await;
}
