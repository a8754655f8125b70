//! The files of a job: its picture in each format, its thumbnail and its sidecar.

use std::time::Duration;

use serde_json::{Value, json};
use uso_engine::{DecodeLimits, Image};
use uso_queue::{JobId, State};

use crate::fixture::Fixture;
use crate::store_proxy::{How, What};

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// As EXIF has it.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

#[tokio::test]
async fn each_format_is_stored_under_its_name_with_its_parameters() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("size=48").await;
    let mut bytes = Vec::new();
    for (asked, ending, media_type, begin, seed) in [
        (json!({}), "0.png", "image/png", b"\x89PNG".as_slice(), b"Seed: 77".to_vec()),
        (json!({ "format": "jpeg" }), "0.jpg", "image/jpeg", b"\xff\xd8\xff", utf16("Seed: 77")),
        (
            json!({ "format": "jpeg", "quality": 20 }),
            "0.jpg",
            "image/jpeg",
            b"\xff\xd8\xff",
            utf16("Seed: 77"),
        ),
        (json!({ "format": "webp", "quality": 90 }), "0.webp", "image/webp", b"RIFF", utf16("Seed: 77")),
        (json!({ "format": "webp", "quality": 20 }), "0.webp", "image/webp", b"RIFF", utf16("Seed: 77")),
    ] {
        let mut body = json!({ "prompt": "a red star", "steps": 1, "seed": 77 });
        body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        let output = fixture.ended(&fixture.submit(&body).await).await.output.unwrap();
        assert!(output.uri.ends_with(&format!("/{ending}")), "{asked}: {}", output.uri);
        assert_eq!(output.content_type, media_type, "{asked}");
        let file = fixture.object(&output.uri);
        assert!(file.starts_with(begin) && contains(&file, &seed), "{asked}");
        assert!(contains(&file, b"a red star"), "{asked}: no JSON in it");
        let picture = Image::decode(&file, &DecodeLimits::default()).unwrap();
        assert_eq!((picture.width, picture.height), (48, 48), "{asked}");
        assert_eq!((output.bytes, output.receipt.stored_bytes), (file.len() as u64, file.len() as u64));
        assert_eq!(output.thumbnail, None, "{asked}: it is small itself");
        let sidecar: Value = serde_json::from_slice(&fixture.object(&output.sidecar)).unwrap();
        assert_eq!(sidecar["output"]["content_type"], media_type);
        assert_eq!(sidecar["output"]["sha256"], output.sha256.as_str());
        assert_eq!(sidecar["output"]["uri"], output.uri.as_str());
        bytes.push(file.len());
    }
    assert!(bytes[2] < bytes[1] && bytes[4] < bytes[3], "quality has no effect: {bytes:?}");
    worker.stop().await;
}

#[tokio::test]
async fn a_large_picture_has_a_thumbnail_beside_it() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("size=400").await;
    let view = fixture.ended(&fixture.submit(&json!({ "steps": 1 })).await).await;
    let output = view.output.unwrap();
    let thumbnail = output.thumbnail.unwrap();
    assert_eq!(thumbnail, output.uri.replace("/0.png", "/0.thumb.webp"));
    let file = fixture.object(&thumbnail);
    let small = Image::decode(&file, &DecodeLimits::default()).unwrap();
    assert_eq!((small.width, small.height), (384, 384));
    assert!(file.starts_with(b"RIFF"));
    let picture = fixture.object(&output.uri);
    assert_eq!(output.receipt.stored_bytes, picture.len() as u64, "the picture's alone");
    let sidecar: Value = serde_json::from_slice(&fixture.object(&output.sidecar)).unwrap();
    assert_eq!(sidecar["output"]["thumbnail"], thumbnail);
    worker.stop().await;
}

/// Whether a file of a job's attempt lies on the disk.
fn is_stored(fixture: &Fixture, job: &JobId, fence: u64, name: &str) -> bool {
    fixture.data.path().join(format!("s3/uso/jobs/{job}/{fence}/{name}")).exists()
}

#[tokio::test]
async fn no_file_waits_for_another_and_the_job_waits_for_all() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("size=400").await;
    const ALL: [&str; 3] = ["0.png", "0.thumb.webp", "0.json"];
    for refused in ALL {
        fixture.proxy.refuse(What::Object(refused), How::Status(503));
        let job = fixture.submit(&json!({ "steps": 1 })).await;
        fixture.proxy.refuses_again(1).await;
        let fence = fixture.view(&job).await.fence;
        let others = async {
            while !ALL.iter().all(|name| (*name == refused) != is_stored(&fixture, &job, fence, name)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let stored = tokio::time::timeout(Duration::from_secs(30), others).await;
        stored.unwrap_or_else(|_| panic!("the others wait for {refused}"));
        assert_eq!(fixture.view(&job).await.state, State::Running, "{refused}");
        fixture.proxy.relent();
        let view = fixture.ended(&job).await;
        assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{refused}: {:?}", view.error);
        assert!(is_stored(&fixture, &job, fence, refused));
    }
    worker.stop().await;
}

#[tokio::test]
async fn an_attempt_fails_if_its_thumbnail_cannot_be_stored() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("size=400").await;
    fixture.proxy.refuse(What::Object("0.thumb.webp"), How::Status(400));
    let job = fixture.submit(&json!({ "steps": 1 })).await;
    let view = fixture.until(&job, |view| view.error.is_some()).await;
    assert_eq!((view.error.unwrap().code.as_str(), view.output), ("upload_failed", None));
    worker.stop.cancel();
    worker.hurry.cancel();
    worker.task.await.unwrap().unwrap();
}
