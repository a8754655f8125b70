//! Quality gates that jobs ask for.

use serde_json::{Value, json};
use uso_queue::{Scorer, WorkerId, WorkerReport};

use crate::fixture::{Fixture, problem};

fn asking(gate: Value) -> Value {
    json!({ "prompt": "a cat", "gate": gate })
}

async fn attend(fixture: &Fixture, scorers: &[Scorer]) {
    let report = WorkerReport { scorers: scorers.to_vec(), ..WorkerReport::default() };
    fixture.queue.register(&WorkerId::new(), &report).await.unwrap();
}

#[tokio::test]
async fn a_job_whose_scorer_no_worker_has_is_accepted_and_says_what_it_waits_for() {
    let fixture = Fixture::start().await;
    attend(&fixture, &[Scorer::Dino]).await;
    let gate = json!({ "scorers": ["clip"], "min": { "clip_t": 0.25 }, "tries": 4 });
    let answer = fixture.post("/v1/jobs", &asking(gate.clone())).await;
    assert_eq!(answer.status(), 202);
    let accepted: Value = answer.json().await.unwrap();
    assert_eq!(accepted["spec"]["gate"], gate);
    let look = async || -> Value {
        fixture.get(accepted["links"]["self"].as_str().unwrap()).await.json().await.unwrap()
    };
    assert_eq!(look().await["blocked"], json!({ "scorers": ["clip"] }));
    attend(&fixture, &[Scorer::Clip]).await;
    assert_eq!(look().await["blocked"], Value::Null);
    let told: Value = fixture.get("/v1/capabilities").await.json().await.unwrap();
    assert_eq!((&told["scorers"], &told["limits"]["tries"]), (&json!(["clip", "dino"]), &json!([1, 16])));
}

#[tokio::test]
async fn faults_of_a_gate_are_named_wherever_a_job_is_described() {
    let fixture = Fixture::start().await;
    for (gate, pointer) in [
        (json!("clip"), "/gate"),
        (json!({ "scorers": [] }), "/gate/scorers"),
        (json!({ "scorers": ["clip"], "tries": 17 }), "/gate/tries"),
        (json!({ "scorers": ["clip"], "min": { "clip_i": 0.5 } }), "/gate/min/clip_i"),
        (json!({ "scorers": ["clip"], "early": { "step": 99, "min": { "clip_t": 0 } } }), "/gate/early/step"),
    ] {
        let job = asking(gate);
        let batch = json!({ "jobs": [{ "prompt": "a cat" }, job] });
        for (path, body, before) in [("/v1/jobs", &job, ""), ("/v1/batches", &batch, "/jobs/1")] {
            let refused = problem(fixture.post(path, body).await, 422, "invalid_fields").await;
            let pointers: Vec<&str> = refused["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["pointer"].as_str().unwrap())
                .collect();
            assert_eq!(pointers, [format!("{before}{pointer}")], "{job}");
        }
    }
}

#[tokio::test]
async fn the_document_describes_gate_and_scores() {
    let fixture = Fixture::start().await;
    let document: Value = fixture.get("/openapi.json").await.json().await.unwrap();
    let schemas = &document["components"]["schemas"];
    let gate = &schemas["JobRequest"]["properties"]["gate"];
    assert_eq!(gate["required"], json!(["scorers"]));
    assert_eq!(gate["properties"]["scorers"]["items"]["enum"], json!(["clip", "dino", "csd", "bundled"]));
    assert_eq!(gate["properties"]["tries"]["maximum"], 16);
    assert_eq!(gate["properties"]["min"]["properties"]["clip_i"]["maximum"], 1.0);
    assert!(schemas["Scores"]["properties"]["accepted"].is_object());
    assert!(schemas["Failure"]["properties"]["device_ms"].is_object());
    assert!(schemas["Receipt"]["properties"]["tries"].is_object());
}
