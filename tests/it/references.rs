//! Jobs that cannot become pictures say why, and nothing they bring harms a worker.

use serde_json::{Value, json};

use crate::fleet::{Fleet, example, looks_as_recorded};

#[tokio::test]
async fn a_picture_made_from_references_is_the_recorded_one() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker().await;
    let content = fleet.put("heart.png", example("content_heart.png")).await;
    let style = fleet.put("sketch.png", example("style_sketch.png")).await;
    let job = fleet
        .submit(&json!({
            "prompt": "the heart is at the right on a sandy beach",
            "content": content, "styles": [style], "seed": 103,
        }))
        .await;
    let view = fleet.ended(&job).await;
    assert_eq!(view["state"], "succeeded", "{view}");
    let picture = fleet.get(&format!("{job}/result")).await.bytes().await.unwrap();
    looks_as_recorded(&picture, "golden_3.png");
    let sidecar: Value = fleet
        .client
        .get(view["output"]["sidecar_url"].as_str().unwrap())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(sidecar["parameters"]["styles"][0], "s3://uso/sketch.png");
}

#[tokio::test]
async fn references_that_cannot_be_used_fail_the_job_and_not_the_worker() {
    let fleet = Fleet::start().await;
    let worker = fleet.worker().await;
    let text = fleet.put("text", b"hello".to_vec()).await;
    let bomb = fleet.put("bomb.png", bomb()).await;
    let before = worker.peak_memory();
    let cases = [
        (json!({ "content": "s3://uso/none.png" }), "reference_missing", "content: there is no object"),
        (json!({ "content": text }), "reference_not_an_image", "content: s3://uso/text is not a png"),
        (json!({ "styles": [bomb] }), "reference_not_usable", "styles/0: image: 20000x20000"),
    ];
    for (job, code, message) in cases {
        let job = fleet.submit(&job).await;
        let view = fleet.ended(&job).await;
        assert_eq!(view["state"], "failed");
        assert_eq!(view["error"]["code"], code);
        let said = view["error"]["message"].as_str().unwrap();
        assert!(said.starts_with(message), "{said}");
    }
    // Decoded, the bomb has 1200 MB.
    let grown = worker.peak_memory() - before;
    assert!(grown < 100, "the worker took {grown} MiB for a picture it must refuse");

    let job = fleet.submit(&json!({ "prompt": "a blue square", "steps": 2 })).await;
    assert_eq!(fleet.ended(&job).await["state"], "succeeded");
}

/// A PNG of 20,000 x 20,000 black pixels, whole and correct, in less than a megabyte.
fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 20_000, 20_000);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().unwrap();
    let mut stream = writer.stream_writer().unwrap();
    for _ in 0..20_000 {
        stream.write_all(&[0; 20_000]).unwrap();
    }
    stream.finish().unwrap();
    drop(writer);
    assert!(bytes.len() < 32 * 1024 * 1024);
    bytes
}

#[tokio::test]
async fn wrong_json_is_refused_with_every_bad_field() {
    let fleet = Fleet::start().await;
    let answer = fleet.post("/v1/jobs", &json!({ "prompt": 1, "steps": 0, "colour": "red" })).await;
    assert_eq!(answer.status(), 422);
    let problem: Value = answer.json().await.unwrap();
    let mut pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/colour", "/prompt", "/steps"]);
}
