//! Jobs that ask for a step cache: what is said of their pictures.

use serde_json::{Value, json};
use uso_queue::{JobView, State};

use crate::fixture::Fixture;

async fn sampled(fixture: &Fixture, job: &Value) -> JobView {
    let view = fixture.ended(&fixture.submit(job).await).await;
    assert_eq!(view.state, State::Succeeded, "{:?}", view.error);
    view
}

#[tokio::test]
async fn receipt_and_sidecar_say_how_many_steps_were_skipped() {
    let fixture = Fixture::start().await;
    let worker = fixture.worker().await;
    let mut job = json!({ "prompt": "a red star", "steps": 6, "seed": 1 });
    let plain = sampled(&fixture, &job).await.output.unwrap();
    job["step_cache"] = json!(1);
    let output = sampled(&fixture, &job).await.output.unwrap();
    assert_ne!(output.sha256, plain.sha256, "it has no effect");
    // All but the first and the last.
    assert_eq!((output.receipt.steps, output.receipt.skipped_steps), (6, Some(4)));

    let sidecar: Value = serde_json::from_slice(&fixture.object(&output.sidecar)).unwrap();
    let (receipt, parameters) = (&sidecar["receipt"], &sidecar["parameters"]);
    assert_eq!((&receipt["step_cache"], &receipt["skipped_steps"]), (&json!(1.0), &json!(4)));
    assert_eq!(parameters["step_cache"], 1.0);
    let sidecar: Value = serde_json::from_slice(&fixture.object(&plain.sidecar)).unwrap();
    for absent in [
        &sidecar["receipt"]["step_cache"],
        &sidecar["receipt"]["skipped_steps"],
        &sidecar["parameters"]["step_cache"],
    ] {
        assert!(absent.is_null(), "{sidecar}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn an_engine_without_one_skips_nothing() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("").await;
    let job = json!({ "prompt": "a red star", "steps": 6, "step_cache": 0.5 });
    let receipt = sampled(&fixture, &job).await.output.unwrap().receipt;
    assert_eq!((receipt.step_cache, receipt.skipped_steps), (Some(0.5), Some(0)));
    worker.stop().await;
}
