//! How long a job will take.

use serde_json::{Value, json};
use uso_queue::{WorkerId, WorkerReport, WorkerState};

use crate::fixture::Fixture;

#[tokio::test]
async fn a_job_knows_its_place_and_when_it_will_be_done() {
    let fixture = Fixture::start().await;
    let body = json!({ "prompt": "a cat", "steps": 10 });
    let unknown: Value = fixture.post("/v1/estimate", &body).await.json().await.unwrap();
    assert_eq!(unknown, json!({ "position": 0, "wait_ms": null, "run_ms": null }), "nobody draws");

    let report = WorkerReport {
        state: WorkerState::Ready,
        step_ms: Some(100.0),
        job_steps: Some(10.0),
        beside_ms: Some(200.0),
        ..WorkerReport::default()
    };
    fixture.queue.attend(&WorkerId::new(), &report).await.unwrap();
    let _first = fixture.submit("a cat").await;
    let second = fixture.submit("a cat").await;
    // What the API knows of workers is a second old at most.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let estimate: Value = fixture.post("/v1/estimate", &body).await.json().await.unwrap();
    assert_eq!(estimate, json!({ "position": 2, "wait_ms": 1500, "run_ms": 1200 }));
    let view: Value = fixture.get(&format!("/v1/jobs/{second}")).await.json().await.unwrap();
    assert_eq!((&view["position"], view["eta_ms"].is_u64()), (&json!(1), true), "{view}");

    let wrong = fixture.post("/v1/estimate", &json!({ "steps": 0 })).await;
    assert_eq!(wrong.status(), 422);
}
