//! One device, many jobs: who goes first, and what becomes of the others.

use std::time::Duration;

use serde_json::{Value, json};
use uso_queue::{Class, Defaults, EventKind, JobId, JobSpec, JobView, State};

use crate::fixture::{Fixture, Running};

fn bulk(steps: u32) -> Value {
    json!({ "prompt": "a red star", "class": "bulk", "steps": steps, "seed": 1 })
}

fn urgent(steps: u32) -> Value {
    json!({ "prompt": "a blue heart", "steps": steps, "seed": 2 })
}

async fn sha256(fixture: &Fixture, job: &Value) -> String {
    let id = fixture.submit(job).await;
    fixture.ended(&id).await.output.unwrap().sha256
}

/// Names of the events of a job other than its steps, in their order.
async fn story(fixture: &Fixture, id: &JobId) -> Vec<&'static str> {
    let mut tail = fixture.queue.tail(0, "0-1".parse().ok()).await.unwrap();
    let mut names = Vec::new();
    let last = fixture.view(id).await.last_event;
    while tail.position() < last {
        for event in tail.next().await.unwrap() {
            if event.job == *id && !matches!(event.kind, EventKind::Progress { .. } | EventKind::Preview) {
                names.push(event.name());
            }
        }
    }
    names
}

#[tokio::test]
async fn an_interactive_job_goes_first_and_no_step_of_bulk_is_lost() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=20ms").await;
    let alone = sha256(&fixture, &bulk(40)).await;

    let long = fixture.submit(&bulk(40)).await;
    fixture.until(&long, |view| view.step >= 3).await;
    let quick = fixture.submit(&urgent(5)).await;
    assert_eq!(fixture.ended(&quick).await.state, State::Succeeded);
    let waiting = fixture.view(&long).await;
    assert_eq!(waiting.state, State::Running);
    assert!(waiting.step < 40, "the interactive job waited for the bulk one");

    let view = fixture.ended(&long).await;
    let output = view.output.unwrap();
    assert_eq!(output.sha256, alone);
    assert_eq!((output.receipt.set_aside, output.receipt.steps, view.attempt), (1, 40, 1));
    assert_eq!(story(&fixture, &long).await, ["queued", "started", "set_aside", "resumed", "succeeded"]);
    assert_eq!(story(&fixture, &quick).await, ["queued", "started", "succeeded"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_picture_that_is_set_aside_is_copied_too() {
    let mut fixture = Fixture::start().await;
    fixture.settings.checkpoint_every = Duration::from_millis(300);
    let worker = fixture.scripted("step=20ms").await;
    let long = fixture.submit(&bulk(40)).await;
    fixture.until(&long, |view| view.step >= 5).await;
    let urgent = fixture.submit(&urgent(100)).await;
    let copied = |view: &JobView| view.checkpoint.as_ref().is_some_and(|copy| copy.step == view.step);
    fixture.until(&urgent, |view| view.step >= 1).await;
    fixture.until(&long, copied).await;
    assert_eq!(fixture.view(&urgent).await.state, State::Running, "it was not set aside any more");
    worker.stop().await;
}

#[tokio::test]
async fn bulk_goes_on_during_a_flood_of_interactive_jobs() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=4ms").await;
    let long = fixture.submit(&bulk(100)).await;
    fixture.until(&long, |view| view.step >= 1).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(fixture.submit(&urgent(50)).await);
    }
    let before = fixture.view(&long).await.step;
    for job in &flood {
        fixture.ended(job).await;
    }
    let after = fixture.view(&long).await.step;
    assert!(after >= before + 40, "{before} to {after} of 1000 steps");
    assert!(after < 100, "the flood waited for bulk");
    worker.stop().await;
}

#[tokio::test]
async fn the_next_job_is_here_while_one_is_sampled_and_no_third_one() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=50ms").await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(fixture.submit(&bulk(40)).await);
    }
    fixture.until(&jobs[0], |view| view.step >= 2).await;
    let ahead = fixture.until(&jobs[1], |view| view.state == State::Running).await;
    assert_eq!(ahead.step, 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fixture.view(&jobs[2]).await.state, State::Queued);
    worker.hurry.cancel();
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_only_waits_goes_to_a_worker_that_does_nothing() {
    let mut fixture = Fixture::start().await;
    let renew = Duration::from_millis(200);
    let config = uso_queue::Config { renew, ..uso_queue::Config::new(fixture.redis.url()) };
    fixture.queue = uso_queue::Queue::connect(config).await.unwrap();
    let busy = fixture.scripted("step=100ms").await;
    let (long, waits) = (fixture.submit(&bulk(100)).await, fixture.submit(&bulk(1)).await);
    fixture.until(&long, |view| view.step >= 1).await;
    let ahead = fixture.until(&waits, |view| view.state == State::Running).await;
    let idle = fixture.scripted("step=1ms").await;
    let view = fixture.ended(&waits).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1));
    assert!(view.fence > ahead.fence, "it was not handed over");
    assert_eq!(fixture.view(&long).await.state, State::Running);
    busy.hurry.cancel();
    busy.stop().await;
    idle.stop().await;
}

#[tokio::test]
async fn a_worker_of_bulk_alone_that_gave_a_job_away_fetches_ahead_again() {
    let mut fixture = Fixture::start().await;
    fixture.settings.classes = vec![Class::Bulk];
    let first = fixture.scripted("step=500ms").await;
    let (long, waits) = (fixture.submit(&bulk(100)).await, fixture.submit(&bulk(100)).await);
    fixture.until(&long, |view| view.step >= 1).await;
    let ahead = fixture.until(&waits, |view| view.state == State::Running).await;
    fixture.settings.classes = Class::ALL.to_vec();
    let second = fixture.scripted("step=500ms").await;
    fixture.until(&waits, |view| view.fence > ahead.fence && view.step >= 1).await;
    // One for each to have ahead. Both are under way only if the first has not stopped to look.
    let next = [fixture.submit(&bulk(1)).await, fixture.submit(&bulk(1)).await];
    for job in next {
        fixture.until(&job, |view| view.state == State::Running).await;
    }
    assert_eq!(fixture.view(&long).await.state, State::Running, "it waited for the end of its picture");
    for worker in [first, second] {
        worker.hurry.cancel();
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_was_not_read_yet_is_kept() {
    let mut fixture = Fixture::start().await;
    fixture.settings.checkpoint_every = Duration::from_millis(50);
    fixture.settings.grace = Duration::ZERO;
    let half = fixture.submit(&bulk(60)).await;
    let left = stopped(&fixture, fixture.scripted("step=20ms").await, &half, false).await;
    let checkpoint = left.checkpoint.expect("nothing is left of what was sampled");
    assert!(checkpoint.step >= 5);
    // Another job has the device, and this one is only fetched.
    let first =
        JobSpec::parse(&json!({ "prompt": "first", "class": "bulk", "priority": 10 }), &Defaults::default());
    let first = fixture.queue.submit("tenant", &first.unwrap()).await.unwrap().id;
    let worker = fixture.scripted("step=100ms").await;
    fixture.until(&first, |view| view.step >= 1).await;
    fixture.until(&half, |view| view.state == State::Running).await;
    fixture.until(&first, |view| view.step >= 8).await;
    worker.stop().await;
    let view = fixture.view(&half).await;
    assert_eq!((view.state, view.checkpoint.as_ref()), (State::Queued, Some(&checkpoint)));
    assert!(fixture.store.get(&checkpoint.key).await.is_ok(), "its bytes are gone");
}

/// Has a bulk job begun, stops its worker and gives what is left.
async fn stopped(fixture: &Fixture, worker: Running, job: &JobId, hurry: bool) -> JobView {
    fixture.until(job, |view| view.step >= 5).await;
    if hurry {
        worker.stop.cancel();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!worker.task.is_finished(), "it did not use its grace");
        worker.hurry.cancel();
    }
    worker.stop().await;
    fixture.view(job).await
}

#[tokio::test]
async fn a_worker_that_stops_leaves_no_step_to_be_done_again() {
    let mut fixture = Fixture::start().await;
    let worker = fixture.scripted("step=20ms").await;
    let alone = sha256(&fixture, &bulk(60)).await;
    worker.stop().await;

    for hurry in [false, true] {
        // Enough, or by far too little.
        fixture.settings.grace = Duration::from_secs(if hurry { 60 } else { 0 });
        let script = if hurry { "step=200ms" } else { "step=20ms" };
        let job = fixture.submit(&bulk(60)).await;
        let left = stopped(&fixture, fixture.scripted(script).await, &job, hurry).await;
        assert_eq!((left.state, left.attempt), (State::Queued, 0), "a deploy cost an attempt");
        let copy = left.checkpoint.expect("what was sampled is lost");

        let next = fixture.scripted("").await;
        let view = fixture.ended(&job).await;
        let output = view.output.unwrap();
        assert_eq!((output.receipt.resumed_from, output.receipt.steps), (copy.step, 60 - copy.step));
        assert_eq!((output.sha256.as_str(), view.attempt), (alone.as_str(), 1));
        next.stop().await;
        assert_eq!(steps_reported(&fixture, &job).await, (1..=60).collect::<Vec<_>>());
    }
}

/// Every step that was reported of a job, in order.
async fn steps_reported(fixture: &Fixture, id: &JobId) -> Vec<u32> {
    let mut tail = fixture.queue.tail(0, "0-1".parse().ok()).await.unwrap();
    let mut steps = Vec::new();
    let last = fixture.view(id).await.last_event;
    while tail.position() < last {
        for event in tail.next().await.unwrap() {
            match event.kind {
                EventKind::Progress { step, .. } if event.job == *id => steps.push(step),
                _ => {}
            }
        }
    }
    // Where the queue was slower than the device, steps were passed over.
    let (first, newest) = (steps[0], *steps.last().unwrap());
    assert!(steps.is_sorted(), "steps were done twice: {steps:?}");
    (first.min(1)..=newest).collect()
}

#[tokio::test]
async fn a_worker_that_stops_hands_back_what_has_not_begun() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=20ms").await;
    let (first, second) = (fixture.submit(&bulk(30)).await, fixture.submit(&bulk(30)).await);
    fixture.until(&first, |view| view.step >= 3).await;
    fixture.until(&second, |view| view.state == State::Running).await;
    worker.stop().await;
    assert_eq!(fixture.view(&first).await.state, State::Succeeded, "the grace was long enough");
    let view = fixture.view(&second).await;
    assert_eq!((view.state, view.attempt, view.step), (State::Queued, 0, 0));
}

#[tokio::test]
async fn a_receipt_says_what_a_picture_took() {
    let fixture = Fixture::start().await;
    let content = fixture.example("content_star.png").await;
    let worker = fixture.scripted("step=20ms,encode=30ms,decode=40ms").await;
    let id = fixture.submit(&json!({ "content": content, "steps": 10 })).await;
    let output = fixture.ended(&id).await.output.unwrap();
    let receipt = &output.receipt;
    assert!(receipt.encode_ms >= 30 && receipt.sample_ms >= 200 && receipt.decode_ms >= 40, "{receipt:?}");
    assert!(receipt.device_ms >= receipt.encode_ms + receipt.sample_ms + receipt.decode_ms, "{receipt:?}");
    assert_eq!((receipt.steps, receipt.resumed_from, receipt.attempts, receipt.set_aside), (10, 0, 1, 0));
    assert_eq!(receipt.fetched_bytes, fixture.object(&content).len() as u64);
    assert_eq!(receipt.stored_bytes, output.bytes);
    assert_eq!(
        (receipt.model.as_str(), receipt.worker.as_str(), receipt.scripted),
        ("scripted", "none", true)
    );
    assert_eq!(receipt.prompt_tokens, None, "it reads no prompts");
    let sidecar: Value = serde_json::from_slice(&fixture.object(&output.sidecar)).unwrap();
    let mut stored = json!(receipt);
    let upload = stored.as_object_mut().and_then(|fields| fields.remove("upload_ms"));
    assert!(
        upload.is_some(),
        "the sidecar is stored beside the picture, so it cannot tell how long that takes"
    );
    assert_eq!(sidecar["receipt"], stored);
    worker.stop().await;
}
