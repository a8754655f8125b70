//! Devices with little memory: what fits is sampled, what does not makes room or waits for another worker.

use serde_json::{Value, json};
use uso_queue::{Blocked, JobView, State};

use crate::fixture::Fixture;

/// A picture of 1024x1024 keeps 10 MB and needs 50 MB more to be worked on.
const SCRIPT: &str = "step=10ms,kept=10000000,working=50000000";

fn job(class: &str, side: u32) -> Value {
    json!({ "prompt": "a red star", "class": class, "width": side, "height": side, "steps": 40, "seed": 1 })
}

fn picture(view: &JobView) -> &str {
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{:?}", view.error);
    &view.output.as_ref().unwrap().sha256
}

#[tokio::test]
async fn a_picture_too_big_for_a_device_waits_for_another_and_holds_up_nobody() {
    let fixture = Fixture::start().await;
    let small = fixture.scripted(&format!("{SCRIPT},memory=100000000")).await;
    let big = fixture.submit(&job("interactive", 2048)).await;
    let fits = fixture.submit(&job("interactive", 1024)).await;
    assert_eq!(fixture.ended(&fits).await.state, State::Succeeded);
    let view = fixture.until(&big, |view| view.blocked.is_some()).await;
    assert_eq!((view.state, view.attempt), (State::Queued, 0));
    assert_eq!(view.blocked, Some(Blocked::Memory { need: 240_000_000, best: 100_000_000 }));
    let large = fixture.scripted(&format!("{SCRIPT},memory=1G")).await;
    picture(&fixture.ended(&big).await);
    small.stop().await;
    large.stop().await;
}

/// Has an interactive job come while a bulk one is sampled, on a device that cannot hold both.
async fn makes_room(script: &str) {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted(&format!("{SCRIPT}{script}")).await;
    let alone = fixture.submit(&job("bulk", 1024)).await;
    let alone = fixture.ended(&alone).await;
    let bulk = fixture.submit(&job("bulk", 1024)).await;
    fixture.until(&bulk, |view| view.step >= 5).await;
    let urgent = fixture.submit(&job("interactive", 1024)).await;
    let urgent = fixture.ended(&urgent).await;
    assert_eq!(picture(&urgent), picture(&alone), "equal requests, other pictures");
    assert_eq!(fixture.view(&bulk).await.state, State::Running, "the interactive job waited");
    let bulk = fixture.ended(&bulk).await;
    assert_eq!(picture(&bulk), picture(&alone));
    let receipt = &bulk.output.as_ref().unwrap().receipt;
    assert_eq!((receipt.steps, receipt.set_aside), (40, 1), "steps were done twice");
    worker.stop().await;
}

#[tokio::test]
async fn what_is_less_urgent_leaves_a_device_that_has_room_for_one() {
    Box::pin(makes_room(",memory=65000000")).await;
}

#[tokio::test]
async fn a_device_that_runs_out_of_memory_tries_once_more_with_one_picture_alone() {
    Box::pin(makes_room(",crowd=1")).await;
}

/// What becomes of a job on an engine that always fails it in the same way.
async fn fails(script: &str) -> (String, String) {
    let mut fixture = Fixture::start().await;
    let config = uso_queue::Config { attempts: 2, ..uso_queue::Config::new(fixture.redis.url()) };
    fixture.queue = uso_queue::Queue::connect(config).await.unwrap();
    let worker = fixture.scripted(script).await;
    let id = fixture.submit(&job("interactive", 1024)).await;
    let view = fixture.ended(&id).await;
    worker.stop().await;
    assert_eq!((view.state, view.attempt, view.output), (State::Failed, 2, None));
    let failure = view.error.unwrap();
    (failure.code, failure.message)
}

#[tokio::test]
async fn without_memory_for_one_a_job_fails_with_the_numbers() {
    let (code, message) = fails("kept=10000000,working=50000000,oom=1").await;
    assert_eq!(code, "out_of_memory");
    assert!(message.contains("60000000"), "{message}");
}

#[tokio::test]
async fn numbers_and_pictures_that_are_useless_are_failures() {
    assert_eq!(fails("nan=1").await.0, "not_finite");
    assert_eq!(fails("flat=1").await.0, "flat_picture");
}
