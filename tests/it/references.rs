//! Jobs that cannot become pictures say why, and nothing they bring harms a worker.

use serde_json::{Value, json};
use uso_engine::Image;

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

const SCRIPTED: [&str; 5] = ["--allow-test-engine", "--engine", "scripted:step=20ms", "--slots", "3"];

/// RGBA of 16 bits, 49 megapixels of one colour: 392 MB of pixels in about a megabyte.
fn wide_png() -> Vec<u8> {
    use std::io::Write;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 7_000, 7_000);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().unwrap();
    let mut stream = writer.stream_writer().unwrap();
    (0..7_000).for_each(|_| stream.write_all(&[128; 8 * 7_000]).unwrap());
    stream.finish().unwrap();
    drop(writer);
    bytes
}

fn large_jpeg() -> Vec<u8> {
    let rgb = (0..3 * 7_000 * 7_000u32).map(|i| (i / 3_000 % 251) as u8).collect();
    Image { width: 7_000, height: 7_000, rgb }.to_jpeg(80).unwrap()
}

/// 49 megapixels of one colour as lossless WebP: every code has one symbol, so no pixel takes a bit.
fn flat_webp() -> Vec<u8> {
    const SIDE: u128 = 7_000;
    let (mut bits, mut count) = ((SIDE - 1) | (SIDE - 1) << 14, 35);
    for symbol in [200, 60, 20, 255] {
        bits |= (0b101 | symbol << 3) << count;
        count += 11;
    }
    bits |= 1 << count;
    let content = [&[0x2f], &bits.to_le_bytes()[..11]].concat();
    let length = content.len() as u32;
    [b"RIFF", &(12 + length).to_le_bytes()[..], b"WEBPVP8L", &length.to_le_bytes(), &content].concat()
}

#[tokio::test]
async fn three_jobs_with_large_references_take_little_memory() {
    let fleet = Fleet::start().await;
    let worker = fleet.worker_with(&SCRIPTED, &[]).await;
    let small = fleet.put("heart.png", example("content_heart.png")).await;
    let warm = fleet.submit(&json!({ "content": small, "steps": 1 })).await;
    assert_eq!(fleet.ended(&warm).await["state"], "succeeded");
    let wide = fleet.put("wide.png", wide_png()).await;
    let large = fleet.put("large.jpg", large_jpeg()).await;
    let flat = fleet.put("flat.webp", flat_webp()).await;
    let before = worker.peak_memory();
    let job = |content: &str| json!({ "content": content, "styles": [wide, large, flat, flat], "steps": 2 });
    let jobs = [&wide, &large, &flat].map(|content| job(content));
    let jobs = [fleet.submit(&jobs[0]).await, fleet.submit(&jobs[1]).await, fleet.submit(&jobs[2]).await];
    for job in jobs {
        assert_eq!(fleet.ended(&job).await["state"], "succeeded");
    }
    let grown = worker.peak_memory() - before;
    assert!(grown <= 700, "the worker took {grown} MiB more than before");
}

#[tokio::test]
async fn hostile_references_harm_no_job_beside_them() {
    let fleet = Fleet::start().await;
    let mut worker = fleet.worker_with(&SCRIPTED, &[]).await;
    worker.limit_memory(4 << 30).await;
    let flat = fleet.put("flat.webp", flat_webp()).await;
    let broken = fleet.put("broken.webp", flat_webp()[..30].to_vec()).await;
    let wide = fleet.put("wide.png", wide_png()).await;
    let hostile = [
        json!({ "content": flat, "styles": [flat, flat, flat, flat], "steps": 1 }),
        json!({ "content": wide, "styles": [wide, wide, wide, wide], "steps": 1 }),
        json!({ "content": flat, "styles": [wide, flat, wide, broken], "steps": 1 }),
    ];
    let mut jobs = Vec::new();
    for job in &hostile {
        jobs.push(fleet.submit(job).await);
    }
    let small = fleet.put("heart.png", example("content_heart.png")).await;
    let innocent = fleet.submit(&json!({ "content": small, "steps": 5 })).await;
    let view = fleet.ended(&innocent).await;
    assert_eq!((&view["state"], &view["attempt"]), (&json!("succeeded"), &json!(1)));
    for job in jobs {
        let view = fleet.ended(&job).await;
        assert_eq!(view["attempt"], 1, "{view}");
    }
    assert!(!worker.has_ended());
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
