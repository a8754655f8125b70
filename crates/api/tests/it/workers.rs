//! The list of workers.

use serde_json::{Value, json};
use uso_queue::{Class, WorkerId, WorkerReport, WorkerState};

use crate::fixture::Fixture;

#[tokio::test]
async fn workers_are_listed_with_what_they_say_and_hold() {
    let fixture = Fixture::start().await;
    let none: Value = fixture.get("/v1/workers").await.json().await.unwrap();
    assert_eq!(none, json!({ "workers": [] }));
    fixture.submit("a cat").await;
    let lease = fixture.claim().await;
    let report = WorkerReport {
        state: WorkerState::Ready,
        jobs: vec![lease.id],
        classes: vec![Class::Bulk],
        step_ms: Some(41.5),
        scripted: true,
        ..WorkerReport::default()
    };
    let worker = WorkerId::new();
    fixture.queue.register(&worker, &report).await.unwrap();
    let answer = fixture.get("/v1/workers").await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let body: Value = answer.json().await.unwrap();
    let listed = &body["workers"][0];
    assert_eq!((&listed["id"], &listed["other_jobs"]), (&json!(worker.as_str()), &json!(0)));
    for (name, said) in json!(report).as_object().unwrap() {
        assert_eq!(&listed[name], said, "{name}");
    }
    assert_eq!((&listed["state"], &listed["jobs"]), (&json!("ready"), &json!([lease.id])));
    assert!(listed["heard_ms_ago"].as_u64().unwrap() < 30_000);
    fixture.queue.deregister(&worker).await.unwrap();
    assert_eq!(fixture.get("/v1/workers").await.json::<Value>().await.unwrap(), none);
}
