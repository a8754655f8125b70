//! Many jobs as one.

use reqwest::Response;
use serde_json::{Value, json};
use uso_queue::Failure;

use crate::events::{names, read};
use crate::fixture::{Fixture, problem};

async fn submit(fixture: &Fixture, key: &str, body: &Value) -> Response {
    let request = fixture.client.post(fixture.url("/v1/batches")).header("Idempotency-Key", key);
    request.json(body).send().await.unwrap()
}

fn of(count: usize) -> Value {
    json!({ "jobs": vec![json!({ "prompt": "a cat", "class": "bulk" }); count], "metadata": { "row": 7 } })
}

async fn post(fixture: &Fixture, id: &str, operation: &str) -> Response {
    fixture.post(&format!("/v1/batches/{id}/{operation}"), &json!({})).await
}

#[tokio::test]
async fn a_batch_is_accepted_as_a_whole_and_again_gives_the_same() {
    let fixture = Fixture::start().await;
    let answer = submit(&fixture, "k", &of(3)).await;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let batch: Value = answer.json().await.unwrap();
    assert_eq!(batch["links"]["self"], location);
    let view: Value = fixture.get(&location).await.json().await.unwrap();
    assert_eq!((&view["counts"]["total"], &view["counts"]["queued"]), (&json!(3), &json!(3)));
    assert_eq!(view["metadata"], json!({ "row": 7 }));

    let again = submit(&fixture, "k", &of(3)).await;
    assert_eq!(again.json::<Value>().await.unwrap(), batch);
    let refused = problem(submit(&fixture, "k", &of(4)).await, 422, "idempotency_key_reused").await;
    assert!(refused["detail"].as_str().unwrap().contains(batch["id"].as_str().unwrap()));
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 3);

    let listed = batch["links"]["jobs"].as_str().unwrap();
    let listed: Value = fixture.get(&format!("{listed}&state=queued")).await.json().await.unwrap();
    let mut ids: Vec<Value> =
        listed["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect();
    ids.reverse();
    assert_eq!(json!(ids), batch["jobs"]);
}

#[tokio::test]
async fn one_bad_job_refuses_all_and_is_named() {
    let fixture = Fixture::start().await;
    let body = json!({
        "jobs": [{ "prompt": "a cat" }, { "steps": 0, "colour": "red" }, 7, { "content": "s3://secrets/a" }],
        "metadata": "x".repeat(5000),
        "name": "b",
    });
    let refused = problem(fixture.post("/v1/batches", &body).await, 422, "invalid_fields").await;
    let errors = refused["errors"].as_array().unwrap();
    let mut named: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, ["/jobs/1/colour", "/jobs/1/steps", "/jobs/2", "/metadata", "/name"]);
    let far = json!({ "jobs": [{}, { "styles": ["s3://uso/a", "s3://secrets/a"] }] });
    let refused = problem(fixture.post("/v1/batches", &far).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/jobs/1/styles/1");
    for body in [json!({}), json!({ "jobs": [] }), of(1001)] {
        let refused = problem(fixture.post("/v1/batches", &body).await, 422, "invalid_fields").await;
        assert_eq!(refused["errors"][0]["pointer"], "/jobs");
    }
    assert_eq!(fixture.queue.stats().await.unwrap().interactive.queued, 0);
}

#[tokio::test]
async fn a_batch_is_paused_resumed_canceled_and_repeated() {
    let fixture = Fixture::start().await;
    let batch: Value = submit(&fixture, "k", &of(3)).await.json().await.unwrap();
    let id = batch["id"].as_str().unwrap();
    let paused = post(&fixture, id, "pause").await;
    assert_eq!(paused.status(), 202);
    let paused: Value = paused.json().await.unwrap();
    assert_eq!((&paused["paused"], &paused["expires_ms"]), (&json!(true), &Value::Null));
    assert!(fixture.queue.claim_one(&uso_queue::WorkerId::new()).await.unwrap().is_none());
    let resumed: Value = post(&fixture, id, "resume").await.json().await.unwrap();
    assert_eq!(resumed["paused"], false);
    let failure =
        Failure { code: "broke".into(), message: "it broke".into(), retryable: false, ..Failure::default() };
    fixture.claim().await.fail(&failure).await.unwrap();
    let canceled: Value = post(&fixture, id, "cancel").await.json().await.unwrap();
    assert_eq!((&canceled["canceled"], &canceled["counts"]["canceled"]), (&json!(true), &json!(2)));
    // A batch is kept as long as its jobs.
    assert!(canceled["expires_ms"].as_u64() > canceled["created_ms"].as_u64(), "{canceled}");
    let repeated: Value = post(&fixture, id, "retry-failed").await.json().await.unwrap();
    assert_eq!((&repeated["counts"]["failed"], &repeated["counts"]["queued"]), (&json!(0), &json!(1)));

    problem(post(&fixture, id, "explode").await, 404, "no_such_route").await;
    let unknown = "0-0198a0b0-0000-7000-8000-000000000000";
    problem(post(&fixture, unknown, "cancel").await, 404, "no_such_batch").await;
    problem(fixture.get(&format!("/v1/batches/{unknown}")).await, 404, "no_such_batch").await;
    let theirs = fixture.queue.new_batch("another").unwrap();
    let spec = uso_queue::JobSpec::parse(&json!({}), &uso_queue::Defaults::default()).unwrap();
    let job = uso_queue::Submission { batch: Some(theirs), ..(&spec).into() };
    fixture.queue.submit("another", job).await.unwrap();
    problem(fixture.get(&format!("/v1/batches/{theirs}")).await, 404, "no_such_batch").await;
    problem(post(&fixture, &theirs.to_string(), "cancel").await, 404, "no_such_batch").await;
}

#[tokio::test]
async fn the_stream_of_a_batch_ends_with_its_last_job() {
    let fixture = Fixture::start().await;
    let batch: Value = submit(&fixture, "k", &of(3)).await.json().await.unwrap();
    let id = batch["id"].as_str().unwrap();
    let path = format!("/v1/batches/{id}/events");
    let reading = tokio::spawn(read(fixture.get(&path).await));
    // Another's events are not this client's business.
    fixture.submit("a dog").await;
    let failure =
        Failure { code: "broke".into(), message: "it broke".into(), retryable: false, ..Failure::default() };
    let (other, lease) = (fixture.claim().await, fixture.claim().await);
    other.fail(&failure).await.unwrap();
    lease.fail(&failure).await.unwrap();
    // The last two end in one moment.
    post(&fixture, id, "cancel").await;
    let events = reading.await.unwrap();
    assert_eq!(names(&events), ["snapshot", "started", "failed", "canceled", "canceled", "snapshot"]);
    assert_eq!(events[0].data["counts"]["queued"], 3);
    assert_eq!((&events[5].data["counts"]["canceled"], &events[5].data["id"]), (&json!(2), &json!(id)));

    let rest = read(fixture.get(&format!("{path}?after={}", events[2].id)).await).await;
    assert_eq!(names(&rest), ["canceled", "canceled", "snapshot"]);
    let over = fixture.get(&format!("{path}?after={}", events[5].id)).await;
    assert_eq!(over.status(), 204);
    assert_eq!(names(&read(fixture.get(&path).await).await), ["snapshot"]);
}
