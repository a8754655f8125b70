//! Small pictures of what is being sampled, for those who look.

use std::time::Duration;

use serde_json::{Value, json};
use uso_engine::{DecodeLimits, Image};
use uso_queue::{EventKind, JobId};

use crate::fixture::{Fixture, long_job};

/// How often a preview of a job was announced until it ended.
async fn announced(fixture: &Fixture, id: &JobId) -> usize {
    fixture.ended(id).await;
    let mut tail = fixture.queue.tail(0, "0-1".parse().ok()).await.unwrap();
    let (mut count, last) = (0, fixture.view(id).await.last_event);
    while tail.position() < last {
        let events = tail.next().await.unwrap();
        count += events.iter().filter(|e| e.job == *id && e.kind == EventKind::Preview).count();
    }
    count
}

fn bulk() -> Value {
    json!({ "prompt": "a red star", "class": "bulk", "steps": 50 })
}

#[tokio::test]
async fn an_interactive_jobs_previews_are_pictures_and_change_nothing() {
    let mut fixture = Fixture::start().await;
    fixture.settings.preview_every = Duration::from_secs(3600);
    let worker = fixture.worker().await;
    let mut blind = long_job();
    blind["class"] = "bulk".into();
    let blind = fixture.submit(&blind).await;
    let blind = fixture.ended(&blind).await.output.unwrap().sha256;
    worker.stop().await;

    fixture.settings.preview_every = Duration::from_millis(20);
    let worker = fixture.worker().await;
    let seen = fixture.submit(&long_job()).await;
    fixture.until(&seen, |view| view.step >= 50).await;
    let jpeg = fixture.queue.preview(&seen).await.unwrap().expect("there is no preview");
    assert!(jpeg.starts_with(&[0xff, 0xd8]), "not a JPEG");
    let picture = Image::decode(&jpeg, &DecodeLimits::default()).unwrap();
    assert!(picture.width.max(picture.height) <= 256 && !picture.is_flat());
    assert!(announced(&fixture, &seen).await >= 2);
    assert_eq!(fixture.ended(&seen).await.output.unwrap().sha256, blind);
    worker.stop().await;
}

#[tokio::test]
async fn a_bulk_job_has_previews_only_while_somebody_watches() {
    let mut fixture = Fixture::start().await;
    fixture.settings.preview_every = Duration::from_millis(20);
    let worker = fixture.scripted("step=10ms").await;
    let unseen = fixture.submit(&bulk()).await;
    assert_eq!(announced(&fixture, &unseen).await, 0);
    let watched = fixture.submit(&bulk()).await;
    fixture.queue.watch(&watched).await.unwrap();
    assert!(announced(&fixture, &watched).await >= 2);
    worker.stop().await;
}

#[tokio::test]
async fn previews_that_are_too_dear_are_left_out() {
    let mut fixture = Fixture::start().await;
    fixture.settings.preview_every = Duration::from_millis(5);
    // One costs as much as a hundred steps.
    let worker = fixture.scripted("step=10ms,preview=1s").await;
    let id = fixture.submit(&json!({ "prompt": "a red star", "steps": 50 })).await;
    let count = announced(&fixture, &id).await;
    assert!(count <= 1, "{count} previews cost {count} s beside half a second of steps");
    worker.stop().await;
}
