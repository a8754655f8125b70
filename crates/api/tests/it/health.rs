//! What operators look at, and what happens while Redis is away.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uso_api::Config;
use uso_queue::KeyScope;
use uso_store::Store;

use crate::fixture::{Fixture, problem, serve, until};

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
    until("it is ready", async || fixture.get("/readyz").await.status() == 200).await;
    assert_eq!(fixture.get(&format!("/v1/jobs/{id}")).await.status(), 200);
}

#[tokio::test]
async fn readiness_is_answered_within_two_seconds_though_the_store_says_nothing() {
    let fixture = Fixture::start().await;
    // It takes connections, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Some(format!("http://{}", silent.local_addr().unwrap()));
    let store = Store::connect(uso_store::Config { endpoint, ..fixture.store.config().clone() });
    let (base, stop, task) = serve(&fixture.queue, &store.await.unwrap(), &Config::default()).await;
    let asked = reqwest::get(format!("{base}/readyz"));
    let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.expect("no answer").unwrap();
    let body = problem(answer, 503, "not_ready").await;
    assert!(body["detail"].as_str().unwrap().starts_with("store: no answer"), "{body}");
    stop.cancel();
    task.await.unwrap().unwrap();
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

#[tokio::test]
async fn while_redis_says_nothing_every_route_answers_and_nothing_is_half_accepted() {
    let fixture = Fixture::with_keys().await;
    let known = fixture.key("studio", &KeyScope::ALL).await.expose();
    let unknown = fixture.key("studio", &KeyScope::ALL).await.expose();
    let send = async |method: Method, path: &str, key: &str| {
        let request = fixture.client.request(method, fixture.url(path)).bearer_auth(key);
        let request = request.header("Idempotency-Key", "k").json(&json!({ "key": key })).send();
        tokio::time::timeout(Duration::from_secs(10), request).await.expect("no answer").unwrap()
    };
    // One key that the process has just read, and one that it has to ask for.
    assert_eq!(send(Method::GET, "/v1/workers", &known).await.status(), 200);
    fixture.signal_redis("-STOP");
    let job = "/v1/jobs/0-0198a0b0-0000-7000-8000-000000000000";
    let routes = [
        (Method::GET, "/v1/workers".to_owned()),
        (Method::GET, job.to_owned()),
        (Method::GET, format!("{job}/events")),
        (Method::POST, format!("{job}/cancel")),
        (Method::POST, "/v1/session".to_owned()),
    ];
    for key in [&known, &unknown] {
        for (method, path) in &routes {
            let answer = send(method.clone(), path, key).await;
            assert!(answer.headers().contains_key("retry-after"), "{path}");
            problem(answer, 503, "queue_unavailable").await;
        }
    }
    let submit = async || {
        let request = fixture.client.post(fixture.url("/v1/jobs")).bearer_auth(&unknown);
        request.header("Idempotency-Key", "k").json(&json!({ "prompt": "a cat" })).send().await.unwrap()
    };
    problem(submit().await, 503, "queue_unavailable").await;
    fixture.signal_redis("-CONT");
    // What was sent into the silence may have been carried out: with the same key it is the same job.
    let mut ids = BTreeSet::new();
    while ids.is_empty() {
        let answer = submit().await;
        if answer.status() == 202 {
            ids.insert(answer.json::<Value>().await.unwrap()["id"].to_string());
        }
    }
    ids.insert(submit().await.json::<Value>().await.unwrap()["id"].to_string());
    assert_eq!(ids.len(), 1);
    assert_eq!(fixture.queue.stats().await.unwrap().interactive.queued, 1);
}
