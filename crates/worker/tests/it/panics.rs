//! Engines that panic.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use uso_engine::{Observed, Observer, Request, Script, Scripted};
use uso_queue::State;
use uso_worker::{Condition, DeviceThread, Sharing};

use crate::fixture::Fixture;

/// Has an engine panic once, at a picture whose prompt asks for it, and whenever it is to work on a picture while
/// another is not set aside.
struct Moody {
    armed: Arc<AtomicBool>,
    /// One more for each sample that is not set aside.
    whole: Rc<()>,
}

struct Sample {
    panics: bool,
    whole: Option<Rc<()>>,
}

impl Moody {
    fn bring_back(&self, sample: &mut Sample) {
        sample.whole = Some(Rc::clone(&self.whole));
        assert_eq!(Rc::strong_count(&self.whole), 2, "another picture was not set aside");
    }
}

impl Observer for Moody {
    type Sample = Sample;

    fn begun(&mut self, request: &Request) -> Sample {
        let mut sample = Sample { panics: request.prompt == "panic", whole: None };
        self.bring_back(&mut sample);
        sample
    }

    fn before_step(&mut self, sample: &mut Sample) {
        self.bring_back(sample);
        assert!(!(sample.panics && self.armed.swap(false, Ordering::Relaxed)), "the prompt says so");
    }

    fn set_aside(&self, sample: &mut Sample) {
        sample.whole = None;
    }
}

async fn moody(script: Script, armed: Arc<AtomicBool>) -> DeviceThread {
    let load = move || {
        let moody = Moody { armed: Arc::clone(&armed), whole: Rc::default() };
        Ok(Observed::new(Scripted::new(script.clone()), moody))
    };
    DeviceThread::start(load, Sharing::default(), Condition::default()).await.unwrap()
}

#[tokio::test]
async fn a_picture_without_the_turn_is_set_aside() {
    let fixture = Fixture::start().await;
    let worker = fixture.run(moody("step=20ms".parse().unwrap(), Arc::default()).await);
    let bulk = fixture.submit(&json!({ "prompt": "a red star", "class": "bulk", "steps": 60 })).await;
    fixture.until(&bulk, |view| view.step >= 5).await;
    // Long enough for bulk to be given steps in between.
    let urgent = fixture.submit(&json!({ "prompt": "a red star", "steps": 45 })).await;
    for job in [urgent, bulk] {
        let view = fixture.ended(&job).await;
        assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{:?}", view.error);
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_panic_costs_one_attempt_of_its_own_job_and_no_step_of_another() {
    let fixture = Fixture::start().await;
    let armed = Arc::new(AtomicBool::new(true));
    let (script, its_armed): (Script, _) = ("step=20ms".parse().unwrap(), Arc::clone(&armed));
    let worker = fixture.run(moody(script, its_armed).await);

    let bulk = fixture.submit(&json!({ "prompt": "a red star", "class": "bulk", "steps": 80 })).await;
    fixture.until(&bulk, |view| view.step >= 5).await;
    let urgent = fixture.submit(&json!({ "prompt": "panic", "steps": 3 })).await;
    let view = fixture.ended(&urgent).await;
    assert!(!armed.load(Ordering::Relaxed), "nothing panicked");
    assert_eq!((view.state, view.attempt), (State::Succeeded, 2), "{:?}", view.error);
    let view = fixture.ended(&bulk).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{:?}", view.error);
    assert_eq!(view.output.unwrap().receipt.steps, 80, "steps were done twice");
    worker.stop().await;
}

#[tokio::test]
async fn a_device_that_panics_twice_in_a_row_ends_the_worker_and_no_job() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=5ms,panic=1").await;
    let job = || json!({ "prompt": "a red star", "class": "bulk", "steps": 3 });
    let jobs = [fixture.submit(&job()).await, fixture.submit(&job()).await];
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.task).await.expect("it goes on");
    let error = ended.unwrap().expect_err("it ended well");
    assert!(matches!(error, uso_worker::Error::DeviceLost(_)), "{error}");
    for job in jobs {
        assert_eq!(fixture.view(&job).await.state, State::Queued, "a job died with the device");
    }
}

#[tokio::test]
async fn a_device_that_fails_its_self_test_never_becomes_a_worker() {
    let script: Script = "selftest=fail".parse().unwrap();
    let started = DeviceThread::start(
        move || Ok(Scripted::new(script.clone())),
        Sharing::default(),
        Condition::default(),
    )
    .await;
    let Err(error) = started else { panic!("it started") };
    assert!(error.to_string().starts_with("self-test: "), "{error}");
}
