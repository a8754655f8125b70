//! How long a job will take.

use serde_json::{Value, json};
use uso_queue::{Class, Scope, WorkerId, WorkerReport, WorkerState};

use crate::fixture::{Fixture, problem};

#[tokio::test]
async fn a_job_knows_its_place_and_when_it_will_be_done() {
    let fixture = Fixture::start().await;
    let body = json!({ "prompt": "a cat", "steps": 10 });
    let unknown: Value = fixture.post("/v1/estimate", &body).await.json().await.unwrap();
    let nothing = json!({ "position": 0, "wait_ms": null, "run_ms": null, "held": false });
    assert_eq!(unknown, nothing, "there is no worker");

    let report = WorkerReport {
        state: WorkerState::Ready,
        step_ms: Some(100.0),
        job_steps: Some(10.0),
        beside_ms: Some(200.0),
        ..WorkerReport::default()
    };
    fixture.queue.register(&WorkerId::new(), &report).await.unwrap();
    let _first = fixture.submit("a cat").await;
    let second = fixture.submit("a cat").await;
    // What the API knows of workers is a second old at most.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let estimate: Value = fixture.post("/v1/estimate", &body).await.json().await.unwrap();
    // The two jobs ahead have 2 steps each, not the 10 of those that have ended.
    assert_eq!(estimate, json!({ "position": 2, "wait_ms": 600, "run_ms": 1200, "held": false }));
    let eight: Value = fixture.post("/v1/estimate?jobs=8", &body).await.json().await.unwrap();
    assert_eq!((&eight["position"], &eight["run_ms"]), (&json!(2), &json!(1200)));
    assert!(eight["wait_ms"].as_u64().unwrap() >= 600 + 7 * 1200 - 1200, "{eight}");
    problem(fixture.post("/v1/estimate?jobs=0", &body).await, 400, "invalid_parameters").await;
    let view: Value = fixture.get(&format!("/v1/jobs/{second}")).await.json().await.unwrap();
    assert_eq!((&view["position"], view["eta_ms"].is_u64()), (&json!(1), true), "{view}");

    fixture.queue.set_paused(Scope::Class(Class::Interactive), true).await.unwrap();
    let paused: Value = fixture.post("/v1/estimate", &body).await.json().await.unwrap();
    assert_eq!((&paused["wait_ms"], &paused["held"]), (&Value::Null, &json!(true)));

    let wrong = fixture.post("/v1/estimate", &json!({ "steps": 0 })).await;
    assert_eq!(wrong.status(), 422);
}
