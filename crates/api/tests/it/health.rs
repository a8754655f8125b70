//! What operators look at, and what happens while Redis is away.

use serde_json::json;

use crate::fixture::{Fixture, problem};

#[tokio::test]
async fn while_redis_is_away_requests_fail_fast_and_say_when_to_come_back() {
    let mut fixture = Fixture::start().await;
    assert_eq!(fixture.get("/readyz").await.status(), 200);
    let id = fixture.submit("a cat").await;
    fixture.redis.kill().await.unwrap();

    let answer = fixture.post("/v1/jobs", &json!({ "prompt": "a cat" })).await;
    assert_eq!(answer.headers()["retry-after"], "2");
    let body = problem(answer, 503, "queue_unavailable").await;
    assert_eq!(body["retryable"], true);
    let body = problem(fixture.get("/readyz").await, 503, "not_ready").await;
    assert!(body["detail"].as_str().unwrap().starts_with("queue: "), "{body}");
    assert_eq!(fixture.get("/healthz").await.status(), 200);
    assert_eq!(fixture.get("/metrics").await.status(), 200);

    fixture.redis.restart().await.unwrap();
    while fixture.get("/readyz").await.status() != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(fixture.get(&format!("/v1/jobs/{id}")).await.status(), 200);
}

#[tokio::test]
async fn metrics_show_the_queue_and_the_routes() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    fixture.get(&format!("/v1/jobs/{id}")).await;
    let text = fixture.get("/metrics").await.text().await.unwrap();
    assert!(text.contains(r#"uso_queue_jobs{class="interactive",state="queued"} 1"#), "{text}");
    assert!(text.contains(r#"route="/v1/jobs/{id}",status="200""#), "{text}");
    assert!(!text.contains(&id), "an id in a label");
}
