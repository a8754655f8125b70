//! Jobs from their lease to their end.

use serde_json::{Value, json};
use uso_engine::{DecodeLimits, Image};
use uso_queue::{PromptTokens, State};

use crate::fixture::{Fixture, long_job};

#[tokio::test]
async fn a_job_becomes_a_picture_a_sidecar_and_a_record() {
    let fixture = Fixture::start().await;
    let content = fixture.example("content_star.png").await;
    let body = json!({
        "prompt": "the star is at the left on a green field", "content": content, "styles": [],
        "seed": 101, "steps": 10, "guidance": 4.0, "metadata": { "row": 5 },
    });
    let job = fixture.submit(&body).await;
    let worker = fixture.worker().await;
    let view = fixture.ended(&job).await;
    worker.stop.cancel();
    worker.task.await.unwrap().unwrap();

    assert_eq!(view.state, State::Succeeded, "{:?}", view.error);
    assert_eq!((view.step, view.of, view.attempt), (10, 10, 1));
    let output = view.output.unwrap();
    assert_eq!((output.width, output.height), (64, 64));
    let png = fixture.object(&output.uri);
    assert_eq!(output.bytes, png.len() as u64);
    looks_as_recorded(&png, "golden_1.png");
    assert!(contains(&png, b"Seed: 101"), "no parameters in the picture");

    let sidecar: Value = serde_json::from_slice(&fixture.object(&output.sidecar)).unwrap();
    assert_eq!(sidecar["parameters"]["prompt"], "the star is at the left on a green field");
    assert_eq!(sidecar["parameters"]["content"], "s3://uso/references/content_star.png");
    assert_eq!(sidecar["parameters"]["seed"], 101);
    assert_eq!(sidecar["parameters"]["model"], "mini");
    assert_eq!(sidecar["job"]["metadata"]["row"], 5);
    assert_eq!(sidecar["output"]["sha256"], output.sha256);

    let metrics = prometheus::TextEncoder::new().encode_to_string(&fixture.registry.gather()).unwrap();
    assert!(metrics.contains("uso_worker_attempts_total{outcome=\"succeeded\"} 1"), "{metrics}");
}

/// What the model's card allows: one level in half a percent of the values.
fn looks_as_recorded(png: &[u8], golden: &str) {
    let golden = std::fs::read(format!("../engine/assets/mini/examples/{golden}")).unwrap();
    let decode = |bytes: &[u8]| Image::decode(bytes, &DecodeLimits::default()).unwrap().rgb;
    let (ours, theirs) = (decode(png), decode(&golden));
    let apart: Vec<u8> = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).filter(|d| *d > 0).collect();
    assert!(
        apart.iter().all(|d| *d == 1) && apart.len() * 200 <= ours.len(),
        "{} values differ",
        apart.len()
    );
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn how_much_of_a_prompt_was_used_is_in_its_record_its_sidecar_and_its_picture() {
    let fixture = Fixture::start().await;
    let worker = fixture.worker().await;
    let job = fixture.submit(&json!({ "prompt": "the star is red ".repeat(20), "steps": 1 })).await;
    let output = fixture.ended(&job).await.output.unwrap();
    let PromptTokens { t5, clip } = output.receipt.prompt_tokens.unwrap();
    assert!(t5.tokens > 80 && clip.tokens > 80, "{t5:?} {clip:?}");
    // The bundled model gives its encoders 32 tokens each.
    assert_eq!((t5.tokens - t5.cut, clip.tokens - clip.cut), (32, 32));
    let counted = json!({ "t5": t5, "clip": clip });
    let sidecar: Value = serde_json::from_slice(&fixture.object(&output.sidecar)).unwrap();
    assert_eq!(sidecar["receipt"]["prompt_tokens"], counted);
    assert_eq!(sidecar["parameters"]["prompt_tokens"], counted);
    // So is what the engine is known by, as other workers know it.
    let known: Vec<_> =
        fixture.queue.workers().await.unwrap().into_iter().map(|(_, _, report)| report.fingerprint).collect();
    assert_eq!(output.receipt.fingerprint.as_slice(), known);
    assert_eq!(sidecar["receipt"]["fingerprint"], json!(output.receipt.fingerprint));
    let text = serde_json::to_string(&output.receipt.prompt_tokens).unwrap();
    assert!(contains(&fixture.object(&output.uri), text.as_bytes()), "{text} is not in the picture");
    worker.stop().await;
}

#[tokio::test]
async fn a_stopped_worker_finishes_its_job_and_takes_no_other() {
    let fixture = Fixture::start().await;
    let first = fixture.submit(&long_job()).await;
    let second = fixture.submit(&long_job()).await;
    let worker = fixture.worker().await;
    fixture.until(&first, |view| view.step > 0).await;
    worker.stop.cancel();
    worker.task.await.unwrap().unwrap();
    assert_eq!(fixture.view(&first).await.state, State::Succeeded);
    assert_eq!(fixture.view(&second).await.state, State::Queued);
}

#[tokio::test]
async fn a_picture_finished_while_redis_is_away_is_handed_in_when_it_is_back() {
    let mut fixture = Fixture::start().await;
    let job = fixture.submit(&long_job()).await;
    let worker = fixture.worker().await;
    fixture.until(&job, |view| view.step > 0).await;
    fixture.redis.kill().await.unwrap();
    // The job's last step is done without a queue to report to.
    let handed_in = async {
        while fixture.pictures(&job) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), handed_in).await.expect("no picture is stored");
    fixture.redis.restart().await.unwrap();
    let view = fixture.ended(&job).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1));
    assert_eq!(fixture.pictures(&job), 1);
    worker.stop.cancel();
    worker.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_canceled_job_gives_the_device_back_within_a_step() {
    let fixture = Fixture::start().await;
    let worker = fixture.worker().await;
    let body = json!({ "prompt": "a red star", "steps": 100, "width": 512, "height": 512, "seed": 1 });
    let long = fixture.submit(&body).await;
    fixture.until(&long, |view| view.step >= 2).await;
    fixture.queue.cancel(&long).await.unwrap();
    let next = fixture.submit(&json!({ "prompt": "a red star", "steps": 1, "seed": 1 })).await;
    assert_eq!(fixture.ended(&next).await.state, State::Succeeded);
    let view = fixture.view(&long).await;
    assert_eq!((view.state, view.output), (State::Canceled, None));
    worker.stop.cancel();
    worker.task.await.unwrap().unwrap();
}
