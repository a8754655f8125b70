//! Bodies that are no jobs.

use serde_json::json;

use crate::fixture::{Fixture, problem};

#[tokio::test]
async fn every_bad_field_is_named_at_once() {
    let fixture = Fixture::start().await;
    let body = json!({
        "prompt": 5, "width": 15, "steps": 101, "guidance": "high", "styles": ["ftp://x", "s3://secrets/a"],
        "content": "s3://secrets/b.png", "colour": "red",
    });
    let problem = problem(fixture.post("/v1/jobs", &body).await, 422, "invalid_fields").await;
    let named: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    for pointer in ["/prompt", "/width", "/steps", "/guidance", "/styles/0", "/colour"] {
        assert!(named.contains(&pointer), "{pointer} is not in {named:?}");
    }
    let steps =
        problem["errors"].as_array().unwrap().iter().find(|error| error["pointer"] == "/steps").unwrap();
    assert_eq!(steps["message"], "101 is not within 1 to 100");
}

#[tokio::test]
async fn references_may_only_come_from_known_buckets() {
    let fixture = Fixture::start().await;
    let body = json!({ "content": "s3://uso/a.png", "styles": ["s3://uso/b.png", "s3://secrets/c.png"] });
    let problem = problem(fixture.post("/v1/jobs", &body).await, 422, "invalid_fields").await;
    assert_eq!(problem["errors"][0]["pointer"], "/styles/1");
    assert_eq!(problem["detail"], "/styles/1: references may not come from bucket secrets");
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_refused_as_all_else() {
    let fixture = Fixture::start().await;
    problem(fixture.get("/v1/jobs/%FF").await, 400, "invalid_path").await;
    problem(fixture.get("/page/%FF").await, 400, "invalid_path").await;
}

#[tokio::test]
async fn what_is_not_json_is_refused_as_such() {
    let fixture = Fixture::start().await;
    let post = |media_type: &'static str, body: String| {
        fixture.client.post(fixture.url("/v1/jobs")).header("content-type", media_type).body(body).send()
    };
    let json = "application/json; charset=utf-8";
    let broken = problem(post(json, "{\"prompt\": ".into()).await.unwrap(), 400, "invalid_json").await;
    assert!(broken["detail"].as_str().unwrap().contains("line 1 column"), "{broken}");
    problem(post(json, "[".repeat(100_000)).await.unwrap(), 400, "invalid_json").await;
    problem(post(json, "[]".into()).await.unwrap(), 422, "invalid_fields").await;
    problem(post("text/plain", "{}".into()).await.unwrap(), 415, "not_json").await;
    let large = problem(post(json, " ".repeat(300_000)).await.unwrap(), 413, "body_too_large").await;
    assert!(large["detail"].as_str().unwrap().contains("262144"), "{large}");
}

#[tokio::test]
async fn an_idempotency_key_is_visible_and_bounded() {
    let fixture = Fixture::start().await;
    let submit = |key: String| {
        let request = fixture.client.post(fixture.url("/v1/jobs")).json(&json!({}));
        request.header("idempotency-key", key).send()
    };
    assert_eq!(submit("a b".into()).await.unwrap().status(), 202);
    for key in [String::new(), "a\tb".into(), "ä".into(), "x".repeat(256)] {
        problem(submit(key).await.unwrap(), 400, "invalid_idempotency_key").await;
    }
}
