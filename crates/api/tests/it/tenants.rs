//! Two tenants, one fleet: neither learns anything of the other.

use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uso_api::{Access, Config};
use uso_queue::KeyScope::{Admin, Read, Submit};
use uso_queue::{ApiKey, WorkerId, WorkerReport};
use uso_store::upload_key;

use crate::fixture::{Fixture, problem};
use crate::uploads::{png, put};

const UNKNOWN: &str = "0-0198a0b0-0000-7000-8000-000000000000";

/// All routes to one job.
const ROUTES: [(&str, &str); 7] = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/events"),
    ("GET", "/preview"),
    ("GET", "/result"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
];

/// A caller with a key.
struct Tenant<'a> {
    fixture: &'a Fixture,
    key: ApiKey,
}

impl<'a> Tenant<'a> {
    async fn new(fixture: &'a Fixture, name: &str) -> Self {
        Self { fixture, key: fixture.key(name, &[Submit, Read]).await }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let request = self.fixture.client.request(method.parse::<Method>().unwrap(), self.fixture.url(path));
        request.bearer_auth(self.key.expose()).json(body).send().await.unwrap()
    }

    async fn submit(&self, body: &Value) -> String {
        let answer = self.send("POST", "/v1/jobs", body).await;
        assert_eq!(answer.status(), 202);
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// What is said against one reference; none if it is taken.
    async fn refused(&self, reference: &str) -> Option<String> {
        let answer = self.send("POST", "/v1/jobs", &json!({ "styles": [reference] })).await;
        if answer.status() == 202 {
            return None;
        }
        let body = problem(answer, 422, "invalid_fields").await;
        assert_eq!(
            (&body["errors"][0]["pointer"], &body["errors"][0]["code"]),
            (&json!("/styles/0"), &json!("not_allowed"))
        );
        Some(body["errors"][0]["message"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn anothers_job_is_on_every_route_as_if_it_were_not_there() {
    let fixture = Fixture::with_keys().await;
    let (ours, theirs) = (Tenant::new(&fixture, "ours").await, Tenant::new(&fixture, "theirs").await);
    let ended = theirs.submit(&json!({ "steps": 2 })).await;
    fixture.complete(&fixture.claim().await).await;
    let running = theirs.submit(&json!({ "steps": 2 })).await;
    let lease = fixture.claim().await;
    lease.record_preview(b"a picture").await.unwrap();
    let waiting = theirs.submit(&json!({ "steps": 2 })).await;

    for job in [&ended, &running, &waiting] {
        for (method, route) in ROUTES {
            let at = |job: &str| format!("/v1/jobs/{job}{route}");
            let body = problem(ours.send(method, &at(job), &json!({})).await, 404, "no_such_job").await;
            let unknown = ours.send(method, &at(UNKNOWN), &json!({})).await;
            assert_eq!(body, unknown.json::<Value>().await.unwrap(), "{method} {route}");
        }
    }
    // Its owner finds it as it was.
    for (job, state) in [(&ended, "succeeded"), (&running, "running"), (&waiting, "queued")] {
        let view: Value =
            theirs.send("GET", &format!("/v1/jobs/{job}"), &json!({})).await.json().await.unwrap();
        assert_eq!((&view["state"], &view["retried_by"]), (&json!(state), &Value::Null), "{view}");
    }
    assert_eq!(theirs.send("GET", &format!("/v1/jobs/{running}/preview"), &json!({})).await.status(), 200);
    assert_eq!(theirs.send("GET", &format!("/v1/jobs/{ended}/result"), &json!({})).await.status(), 307);
}

#[tokio::test]
async fn an_idempotency_key_is_each_tenants_own() {
    let fixture = Fixture::with_keys().await;
    let mut ids = Vec::new();
    for name in ["ours", "theirs"] {
        let key = fixture.key(name, &[Submit, Read]).await.expose();
        let request = fixture.client.post(fixture.url("/v1/jobs")).header("Idempotency-Key", "k");
        let answer = request.bearer_auth(key).json(&json!({ "prompt": name })).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        ids.push(answer.json::<Value>().await.unwrap()["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn workers_show_each_tenant_its_own_jobs_and_count_the_others() {
    let fixture = Fixture::with_keys().await;
    let (ours, theirs) = (Tenant::new(&fixture, "ours").await, Tenant::new(&fixture, "theirs").await);
    let mine = ours.submit(&json!({})).await;
    theirs.submit(&json!({})).await;
    let (one, other) = (fixture.claim().await, fixture.claim().await);
    let report = WorkerReport { jobs: vec![one.id, other.id], ..WorkerReport::default() };
    fixture.queue.register(&WorkerId::new(), &report).await.unwrap();
    let seen: Value = ours.send("GET", "/v1/workers", &json!({})).await.json().await.unwrap();
    let worker = &seen["workers"][0];
    assert_eq!((&worker["jobs"], &worker["other_jobs"]), (&json!([mine]), &json!(1)));

    let operator = Tenant { fixture: &fixture, key: fixture.key("ops", &[Read, Admin]).await };
    let seen: Value = operator.send("GET", "/v1/workers", &json!({})).await.json().await.unwrap();
    assert_eq!(seen["workers"][0]["other_jobs"], 0);
    assert_eq!(seen["workers"][0]["jobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_upload_is_found_among_its_tenants_own_only() {
    let fixture = Fixture::with_keys().await;
    let (ours, theirs) = (Tenant::new(&fixture, "ours").await, Tenant::new(&fixture, "theirs").await);
    let picture = png(64, 64);
    let asked = json!({ "content_type": "image/png", "bytes": picture.len() });
    let upload: Value = theirs.send("POST", "/v1/uploads", &asked).await.json().await.unwrap();
    assert!(put(&fixture, &upload, &picture).await.status().is_success());
    let id = upload["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(fixture.store.get(&upload_key("theirs", &id)).await.unwrap(), picture);

    // No other tenant has an upload with this id.
    let answer = ours.send("POST", "/v1/jobs", &json!({ "content": upload["source"] })).await;
    let body = problem(answer, 422, "invalid_fields").await;
    assert_eq!(body["errors"][0]["code"], "upload_missing");
    theirs.submit(&json!({ "content": upload["source"] })).await;
    // The worker looks for it under the tenant of the job that names it.
    assert_eq!(fixture.claim().await.tenant, "theirs");
    let place = format!("s3://uso/{}", upload_key("theirs", &id));
    assert!(ours.refused(&place).await.unwrap().contains("your references may not come from"));
    assert_eq!(theirs.refused(&place).await, None);
}

#[tokio::test]
async fn references_come_from_ones_own_places_only() {
    let references =
        ["lent", "shared/refs", "shared/of/{tenant}"].map(|place| place.parse().unwrap()).to_vec();
    let fixture = Fixture::start_as(Config { access: Access::Keys, references, ..Config::default() }).await;
    let (ours, theirs) = (Tenant::new(&fixture, "ours").await, Tenant::new(&fixture, "theirs").await);
    let mine = ours.submit(&json!({})).await;
    let others = theirs.submit(&json!({})).await;
    for allowed in [
        format!("s3://uso/jobs/{mine}/1/0.png"),
        "s3://uso/uploads/ours/a".into(),
        "s3://lent/a.png".into(),
        "s3://shared/refs/a.png".into(),
        "s3://shared/of/ours/a.png".into(),
    ] {
        assert_eq!(ours.refused(&allowed).await, None, "{allowed}");
    }
    for refused in [
        format!("s3://uso/jobs/{others}/1/0.png"),
        format!("s3://uso/jobs/{UNKNOWN}/1/0.png"),
        "s3://uso/jobs/x/1/0.png".into(),
        format!("s3://uso/checkpoints/{mine}/1/2"),
        "s3://uso/uploads/theirs/a".into(),
        "s3://uso/uploads/a".into(),
        "s3://uso/uploads//ours/a".into(),
        "s3://uso//uploads/theirs/a".into(),
        "s3://uso/a.png".into(),
        "s3://shared/a.png".into(),
        "s3://shared/of/theirs/a.png".into(),
        "s3://shared/of/ours2/a.png".into(),
        "s3://elsewhere/a.png".into(),
    ] {
        assert!(ours.refused(&refused).await.is_some(), "{refused}");
    }
}

#[tokio::test]
async fn lists_streams_and_batches_are_each_tenants_own() {
    let fixture = Fixture::with_keys().await;
    let (ours, theirs) = (Tenant::new(&fixture, "ours").await, Tenant::new(&fixture, "theirs").await);
    let mine = ours.submit(&json!({})).await;
    theirs.submit(&json!({})).await;
    let listed: Value = ours.send("GET", "/v1/jobs", &json!({})).await.json().await.unwrap();
    let ids: Vec<&Value> = listed["jobs"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, [&json!(mine)]);

    let body = json!({ "jobs": [{}, {}] });
    let batch: Value = theirs.send("POST", "/v1/batches", &body).await.json().await.unwrap();
    let batch = batch["id"].as_str().unwrap();
    for (method, route) in [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/pause")] {
        let at = |batch: &str| format!("/v1/batches/{batch}{route}");
        let refused = problem(ours.send(method, &at(batch), &json!({})).await, 404, "no_such_batch").await;
        let unknown = ours.send(method, &at(UNKNOWN), &json!({})).await;
        assert_eq!(refused, unknown.json::<Value>().await.unwrap(), "{method} {route}");
    }
    let listed = ours.send("GET", &format!("/v1/jobs?batch={batch}"), &json!({})).await;
    assert_eq!(listed.json::<Value>().await.unwrap()["jobs"], json!([]));

    let mut stream = ours.send("GET", "/v1/events", &json!({})).await.bytes_stream();
    let others = theirs.submit(&json!({})).await;
    let last = ours.submit(&json!({})).await;
    let mut text = String::new();
    while !text.contains(&last) {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains(&others), "{text}");
}
