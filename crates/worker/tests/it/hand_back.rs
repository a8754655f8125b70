//! Bulk work whose nightly window closes goes back to the queue, and is gone on with when it opens.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use uso_queue::{Checkpoint, Config, EventKind, JobId, JobView, Queue, State, WorkerId};

use crate::fixture::{Fixture, Running, long_job};

/// A fleet that hears soon that the window has closed.
async fn fixture() -> Fixture {
    let mut fixture = Fixture::start().await;
    let renew = Duration::from_millis(50);
    let config = Config { renew, ..Config::new(fixture.redis.url()) };
    fixture.queue = Queue::connect(config).await.unwrap();
    fixture
}

fn bulk(mut job: Value) -> Value {
    job["class"] = "bulk".into();
    job
}

fn scripted_job() -> Value {
    bulk(json!({ "prompt": "a red star", "steps": 40, "seed": 1 }))
}

/// Has a job begun, and handed back partial.
async fn partial_sample(fixture: &Fixture, job: &Value) -> (JobId, Checkpoint) {
    let id = fixture.submit(job).await;
    fixture.until(&id, |view| view.step >= 3).await;
    fixture.open_window(false).await;
    let view = fixture.until(&id, |view| view.state == State::Queued).await;
    assert_eq!(view.attempt, 0, "handing back cost an attempt");
    let checkpoint = view.checkpoint.expect("nothing is left of what was sampled");
    assert!(checkpoint.step >= 3 && checkpoint.step < view.spec.steps);
    assert!(object(fixture, &checkpoint).exists());
    (id, checkpoint)
}

fn object(fixture: &Fixture, checkpoint: &Checkpoint) -> PathBuf {
    fixture.data.path().join("s3/uso").join(&checkpoint.key)
}

/// The first step that was reported after the job was handed back.
async fn first_step_after(fixture: &Fixture, id: &JobId) -> u32 {
    let mut tail = fixture.queue.tail(0, "0-0".parse().ok()).await.unwrap();
    let events = tail.next().await.unwrap();
    let requeued = |kind: &EventKind| matches!(kind, EventKind::Requeued { .. });
    let last = events.iter().rposition(|event| event.job == *id && requeued(&event.kind)).unwrap();
    let steps = events[last..].iter().filter_map(|event| match event.kind {
        EventKind::Progress { step, .. } if event.job == *id => Some(step),
        _ => None,
    });
    steps.min().unwrap()
}

async fn whole(fixture: &Fixture, id: &JobId) -> JobView {
    fixture.open_window(true).await;
    let view = fixture.ended(id).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{:?}", view.error);
    view
}

fn sha256(view: &JobView) -> &str {
    &view.output.as_ref().unwrap().sha256
}

#[tokio::test]
async fn a_job_handed_back_when_its_window_closes_ends_with_the_same_bytes() {
    let fixture = fixture().await;
    let worker = fixture.worker().await;
    let uninterrupted = fixture.submit(&bulk(long_job())).await;
    let uninterrupted = fixture.ended(&uninterrupted).await;

    let (id, checkpoint) = partial_sample(&fixture, &bulk(long_job())).await;
    // The device is free meanwhile.
    let urgent = fixture.submit(&json!({ "prompt": "a red star", "steps": 1 })).await;
    assert_eq!(fixture.ended(&urgent).await.state, State::Succeeded);

    let view = whole(&fixture, &id).await;
    assert_eq!(sha256(&view), sha256(&uninterrupted));
    assert!(first_step_after(&fixture, &id).await > checkpoint.step, "steps were done twice");
    worker.stop().await;
    assert!(!object(&fixture, &checkpoint).exists(), "the checkpoint is left behind");
}

#[tokio::test]
async fn another_worker_goes_on_where_the_first_left_off() {
    let fixture = fixture().await;
    let first = fixture.scripted("step=20ms").await;
    let uninterrupted = fixture.submit(&scripted_job()).await;
    let uninterrupted = fixture.ended(&uninterrupted).await;
    let (id, checkpoint) = partial_sample(&fixture, &scripted_job()).await;
    first.stop().await;
    let second = fixture.scripted("").await;
    assert_eq!(sha256(&whole(&fixture, &id).await), sha256(&uninterrupted));
    assert!(first_step_after(&fixture, &id).await > checkpoint.step, "steps were done twice");
    second.stop().await;
}

#[tokio::test]
async fn a_dead_workers_picture_goes_on_from_its_last_copy() {
    let mut fixture = Fixture::start().await;
    fixture.settings.checkpoint_every = Duration::from_millis(100);
    let whole = fixture.scripted("").await;
    let uninterrupted = fixture.submit(&scripted_job()).await;
    let uninterrupted = fixture.ended(&uninterrupted).await;
    whole.stop().await;

    let dies = fixture.scripted("step=20ms").await;
    let id = fixture.submit(&scripted_job()).await;
    let copied = |view: &JobView| view.checkpoint.as_ref().is_some_and(|copy| copy.step >= 10);
    fixture.until(&id, copied).await;
    dies.task.abort();
    let _ = dies.task.await;
    let copy = fixture.view(&id).await.checkpoint.unwrap();
    assert!(object(&fixture, &copy).exists());

    let second = fixture.scripted("").await;
    let view = fixture.ended(&id).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1));
    assert_eq!(sha256(&view), sha256(&uninterrupted));
    assert!(first_step_after(&fixture, &id).await > copy.step, "steps were done twice");
    second.stop().await;
    let left = std::fs::read_dir(object(&fixture, &copy).ancestors().nth(2).unwrap()).into_iter().flatten();
    let left: Vec<_> = left.flat_map(|fence| std::fs::read_dir(fence.unwrap().path()).unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Replaces the record of the checkpoint that a waiting job has.
async fn record(fixture: &Fixture, checkpoint: &Checkpoint) {
    fixture.open_window(true).await;
    let lease = fixture.queue.claim_one(&WorkerId::new()).await.unwrap().unwrap();
    lease.record_checkpoint(checkpoint).await.unwrap();
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_trusted_costs_time_and_not_the_job() {
    let fixture = fixture().await;
    let start = async || -> Running { fixture.scripted("step=20ms").await };
    let first = start().await;
    let uninterrupted = fixture.submit(&scripted_job()).await;
    let uninterrupted = fixture.ended(&uninterrupted).await;
    first.stop().await;

    for broken in ["fingerprint", "digest", "object", "bytes"] {
        let worker = start().await;
        let (id, mut checkpoint) = partial_sample(&fixture, &scripted_job()).await;
        worker.stop().await;
        match broken {
            "fingerprint" => checkpoint.fingerprint += "?",
            "digest" => drop(fixture.store.put(&checkpoint.key, "x", "other".into()).await.unwrap()),
            "object" => fixture.store.delete(&checkpoint.key).await.unwrap(),
            _ => {
                let stored = fixture.store.put(&checkpoint.key, "x", "other".into()).await.unwrap();
                checkpoint.sha256 = stored.sha256;
            }
        }
        record(&fixture, &checkpoint).await;
        let worker = start().await;
        let view = whole(&fixture, &id).await;
        assert_eq!(sha256(&view), sha256(&uninterrupted), "{broken}");
        assert_eq!(first_step_after(&fixture, &id).await, 1, "{broken}: went on from a bad checkpoint");
        worker.stop().await;
    }
}
