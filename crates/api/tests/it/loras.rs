//! LoRAs that jobs ask for.

use serde_json::{Value, json};
use uso_queue::{WorkerId, WorkerLora, WorkerReport};

use crate::fixture::{Fixture, problem};

async fn attend(fixture: &Fixture, worker: &WorkerId, names: &[&str]) {
    let lora = |name: &&str| WorkerLora { name: (*name).to_owned(), digest: "0f".into() };
    let report = WorkerReport { loras: names.iter().map(lora).collect(), ..WorkerReport::default() };
    fixture.queue.register(worker, &report).await.unwrap();
}

fn asking(loras: Value) -> Value {
    json!({ "prompt": "a cat", "loras": loras })
}

async fn named(fixture: &Fixture, path: &str, body: &Value) -> Vec<String> {
    let refused = problem(fixture.post(path, body).await, 422, "invalid_fields").await;
    let errors = refused["errors"].as_array().unwrap();
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_job_whose_lora_no_worker_has_is_accepted_and_says_what_it_waits_for() {
    let fixture = Fixture::start().await;
    attend(&fixture, &WorkerId::new(), &["oil"]).await;
    let job = asking(json!([{ "name": "oil", "weight": 0.5 }, { "name": "ink" }]));
    let answer = fixture.post("/v1/jobs", &job).await;
    assert_eq!(answer.status(), 202);
    let accepted: Value = answer.json().await.unwrap();
    let asked = json!([{ "name": "oil", "weight": 0.5 }, { "name": "ink", "weight": 1.0 }]);
    assert_eq!(accepted["spec"]["loras"], asked);
    let look = async || -> Value {
        fixture.get(accepted["links"]["self"].as_str().unwrap()).await.json().await.unwrap()
    };
    assert_eq!(look().await["blocked"], json!({ "loras": ["ink"] }));
    let listed: Value = fixture.get("/v1/jobs?state=queued").await.json().await.unwrap();
    assert_eq!(listed["jobs"][0]["blocked"], json!({ "loras": ["ink"] }));
    attend(&fixture, &WorkerId::new(), &["oil", "ink"]).await;
    assert_eq!(look().await["blocked"], Value::Null);
}

#[tokio::test]
async fn workers_and_capabilities_tell_which_there_are() {
    let fixture = Fixture::start().await;
    let worker = WorkerId::new();
    attend(&fixture, &worker, &["ink", "oil"]).await;
    attend(&fixture, &WorkerId::new(), &["ink"]).await;
    let told: Value = fixture.get("/v1/workers").await.json().await.unwrap();
    let workers = told["workers"].as_array().unwrap();
    let ours = workers.iter().find(|told| told["id"] == worker.as_str()).unwrap();
    assert_eq!(ours["loras"], json!([{ "name": "ink", "digest": "0f" }, { "name": "oil", "digest": "0f" }]));
    let told: Value = fixture.get("/v1/capabilities").await.json().await.unwrap();
    assert_eq!(told["loras"], json!(["ink", "oil"]));
    let limits = &told["limits"];
    assert_eq!((&limits["loras"], &limits["lora_weight"]), (&json!([0, 4]), &json!([-10.0, 10.0])));
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_named_wherever_a_job_is_described() {
    let fixture = Fixture::start().await;
    for name in ["../x", "a/b", "a\\b", "a\0", "", ".hidden", "ä"] {
        let job = asking(json!([{ "name": "fine" }, { "name": name }]));
        assert_eq!(named(&fixture, "/v1/jobs", &job).await, ["/loras/1/name"], "{name:?}");
        assert_eq!(named(&fixture, "/v1/estimate", &job).await, ["/loras/1/name"], "{name:?}");
        let batch = json!({ "jobs": [asking(json!([])), job] });
        assert_eq!(named(&fixture, "/v1/batches", &batch).await, ["/jobs/1/loras/1/name"], "{name:?}");
    }
    let five: Vec<Value> = (0..5).map(|i| json!({ "name": format!("n{i}") })).collect();
    for (loras, pointer) in [
        (json!(five), "/loras"),
        (json!({ "name": "ink" }), "/loras"),
        (json!(["ink"]), "/loras/0"),
        (json!([{ "weight": 1 }]), "/loras/0/name"),
        (json!([{ "name": "ink", "weight": null, "scale": 1 }]), "/loras/0/scale"),
        (json!([{ "name": "ink", "weight": -11 }]), "/loras/0/weight"),
        (json!([{ "name": "ink" }, { "name": "ink" }]), "/loras/1/name"),
    ] {
        assert_eq!(named(&fixture, "/v1/jobs", &asking(loras.clone())).await, [pointer], "{loras}");
    }
    // Not a number is not JSON, and infinity no number that fits.
    for weight in ["NaN", "1e999"] {
        let body = format!(r#"{{"loras":[{{"name":"ink","weight":{weight}}}]}}"#);
        let request = fixture.client.post(fixture.url("/v1/jobs")).header("content-type", "application/json");
        let status = request.body(body).send().await.unwrap().status();
        assert!(status.is_client_error(), "{weight}: {status}");
    }
}

#[tokio::test]
async fn leaving_them_out_is_asking_for_none() {
    let fixture = Fixture::start().await;
    let post = async |body: &Value| -> Value {
        let request = fixture.client.post(fixture.url("/v1/jobs")).header("Idempotency-Key", "k");
        request.json(body).send().await.unwrap().json().await.unwrap()
    };
    let without = post(&json!({ "prompt": "a cat" })).await;
    assert_eq!(post(&asking(json!([]))).await["id"], without["id"]);
    assert_eq!(post(&asking(Value::Null)).await["id"], without["id"]);
    assert_eq!(post(&asking(json!([{ "name": "ink" }]))).await["code"], "idempotency_key_reused");
}
