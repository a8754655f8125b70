//! What tenants store counts against their limits.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use uso_api::Config;
use uso_queue::Limits;

use crate::fixture::{Fixture, problem};
use crate::predictions::send_form;
use crate::uploads::png;

/// Files under `uploads/` in the bucket.
fn stored(fixture: &Fixture) -> usize {
    let folder = fixture.bucket().join("uploads/default");
    std::fs::read_dir(folder).map_or(0, |files| files.count())
}

fn inline(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes))
}

#[tokio::test]
async fn uploads_and_files_count_against_rate_and_quota() {
    let fixture = Fixture::start().await;
    let bytes = png(64, 48);
    let limits = Limits { max_stored: Some(3 * bytes.len() as u64), ..Limits::default() };
    fixture.queue.set_limits("default", &limits).await.unwrap();
    let ask = json!({ "content_type": "image/png", "bytes": bytes.len() });
    assert_eq!(fixture.post("/v1/uploads", &ask).await.status(), 201);
    let file = send_form(&fixture, &[("content", "a.png", &bytes)]).await;
    let file: Value = file.json().await.unwrap();
    let body = json!({ "version": "uso/model", "input": { "content": inline(&bytes) } });
    assert_eq!(fixture.post("/v1/predictions", &body).await.status(), 201);
    // The same picture again is the same file.
    assert_eq!(fixture.post("/v1/predictions", &body).await.status(), 201);

    let before = stored(&fixture);
    let refused = problem(fixture.post("/v1/uploads", &ask).await, 429, "too_much_stored").await;
    assert_eq!(refused["retryable"], true);
    problem(send_form(&fixture, &[("content", "a.png", &bytes)]).await, 429, "too_much_stored").await;
    let other = json!({ "version": "uso/model", "input": { "content": inline(&png(48, 64)) } });
    problem(fixture.post("/v1/predictions", &other).await, 429, "too_much_stored").await;
    assert_eq!(stored(&fixture), before);
    // A tenant that deletes a file may store another.
    let at = file["urls"]["get"].as_str().unwrap();
    assert_eq!(fixture.client.delete(at).send().await.unwrap().status(), 204);
    assert_eq!(fixture.post("/v1/uploads", &ask).await.status(), 201);

    let limits = Limits { per_second: Some(0.001), burst: Some(2.0), ..Limits::default() };
    fixture.queue.set_limits("default", &limits).await.unwrap();
    assert_eq!(fixture.post("/v1/uploads", &ask).await.status(), 201);
    assert_eq!(send_form(&fixture, &[("content", "a.png", &bytes)]).await.status(), 201);
    problem(fixture.post("/v1/uploads", &ask).await, 429, "too_fast").await;
    problem(fixture.post("/v1/jobs", &json!({})).await, 429, "too_fast").await;
}

#[tokio::test]
async fn a_prediction_that_is_refused_stores_nothing() {
    let fixture = Fixture::start_as(Config { model: "toy".into(), ..Config::default() }).await;
    let picture = inline(&png(64, 48));
    let ask = async |input: Value, more: Value| {
        let mut body = json!({ "version": "uso/toy", "input": input });
        more.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
        fixture.post("/v1/predictions", &body).await
    };
    let bad = [
        (json!({ "content": picture, "steps": 0 }), json!({})),
        (json!({ "content": picture, "styles": ["s3://other/a"] }), json!({})),
        (json!({ "content": picture, "styles": [format!("upload:{}", uuid::Uuid::nil())] }), json!({})),
        (json!({ "content": picture, "styles": [inline(&png(20_000, 20))] }), json!({})),
        (json!({ "content": picture }), json!({ "webhook": "https://localhost/hook" })),
        (json!({ "content": picture, "webhook": "https://127.0.0.1/hook" }), json!({})),
        (json!({ "content": picture }), json!({ "version": "uso/other" })),
    ];
    for (input, more) in bad {
        problem(ask(input, more).await, 422, "invalid_fields").await;
        assert_eq!(stored(&fixture), 0);
    }
    let limits = Limits { max_queued: Some(0), ..Limits::default() };
    fixture.queue.set_limits("default", &limits).await.unwrap();
    problem(ask(json!({ "content": picture }), json!({})).await, 429, "too_many_queued").await;
    assert_eq!(stored(&fixture), 0);
    fixture.queue.set_limits("default", &Limits::default()).await.unwrap();
    assert_eq!(ask(json!({ "content": picture }), json!({})).await.status(), 201);
    assert_eq!(stored(&fixture), 1);
}
