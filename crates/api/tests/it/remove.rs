//! Jobs and their pictures, deleted.

use crate::fixture::{Fixture, problem};

async fn delete(fixture: &Fixture, id: &str) -> reqwest::Response {
    fixture.client.delete(fixture.url(&format!("/v1/jobs/{id}"))).send().await.unwrap()
}

#[tokio::test]
async fn an_ended_job_is_deleted_with_all_that_it_left() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    problem(delete(&fixture, &id).await, 409, "not_finished").await;
    let lease = fixture.claim().await;
    problem(delete(&fixture, &id).await, 409, "not_finished").await;
    let half = uso_store::checkpoint_key(&lease.id, lease.fence, 1);
    let lost = uso_store::output_key(&lease.id, lease.fence + 1, "0.png");
    let other = uso_store::output_key(&format!("{id}0"), 1, "0.png");
    for key in [&half, &lost, &other] {
        fixture.store.put(key, "text/plain", "x".into()).await.unwrap();
    }
    fixture.complete_with(&lease, Some("a thumbnail")).await;

    assert_eq!(delete(&fixture, &id).await.status(), 204);
    let picture = uso_store::output_key(&lease.id, lease.fence, "0.png");
    let sidecar = uso_store::output_key(&lease.id, lease.fence, "0.json");
    let thumbnail = uso_store::output_key(&lease.id, lease.fence, "0.thumb.webp");
    for key in [&half, &lost, &picture, &sidecar, &thumbnail] {
        let gone = fixture.store.get(key).await;
        assert!(matches!(gone, Err(uso_store::Error::Missing { .. })), "{key}: {gone:?}");
    }
    assert_eq!(fixture.store.get(&other).await.unwrap(), "x", "another job's");
    problem(delete(&fixture, &id).await, 404, "no_such_job").await;
    problem(delete(&fixture, "x").await, 404, "no_such_job").await;
    problem(fixture.get(&format!("/v1/jobs/{id}")).await, 404, "no_such_job").await;
}

#[tokio::test]
async fn a_request_whose_job_was_deleted_is_told_so() {
    let fixture = Fixture::start().await;
    let submit = || {
        let request = fixture.client.post(fixture.url("/v1/jobs")).header("Idempotency-Key", "k");
        request.json(&serde_json::json!({ "prompt": "a cat" })).send()
    };
    let accepted: serde_json::Value = submit().await.unwrap().json().await.unwrap();
    let id = accepted["id"].as_str().unwrap();
    fixture.queue.cancel(&id.parse().unwrap()).await.unwrap();
    assert_eq!(delete(&fixture, id).await.status(), 204);
    let refused = problem(submit().await.unwrap(), 409, "job_deleted").await;
    assert!(refused["detail"].as_str().unwrap().contains(id));
}
