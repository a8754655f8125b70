//! Pictures of one size whose steps are taken together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use uso_engine::{Observed, Observer, Request, Script, Scripted};
use uso_queue::{JobId, JobView, State};
use uso_worker::{Condition, DeviceThread, Sharing};

use crate::fixture::{Fixture, Running};

const SHARING: fn() -> Sharing = || Sharing { slots: 2, most_begun: 6, ..Sharing::default() };

fn bulk(seed: u64, steps: u32) -> Value {
    json!({ "prompt": "a red star", "class": "bulk", "steps": steps, "seed": seed })
}

async fn two_slots() -> Fixture {
    let mut fixture = Fixture::start().await;
    fixture.settings.slots = 2;
    fixture
}

async fn start(fixture: &Fixture, script: &str) -> Running {
    fixture.scripted_sharing(script, SHARING()).await
}

/// What each of these jobs gives on a worker that steps them one after another.
async fn alone(jobs: &[Value]) -> Vec<String> {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("").await;
    let mut pictures = Vec::new();
    for job in jobs {
        let id = fixture.submit(job).await;
        let output = fixture.ended(&id).await.output.unwrap();
        assert_eq!(output.receipt.together, None);
        pictures.push(output.sha256);
    }
    worker.stop().await;
    pictures
}

/// The picture of a job that has succeeded in its first attempt, and how many were stepped with it.
fn made(view: &JobView) -> (&str, Option<u32>) {
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{:?}", view.error);
    let output = view.output.as_ref().unwrap();
    (&output.sha256, output.receipt.together)
}

async fn submit<const N: usize>(fixture: &Fixture, jobs: &[Value; N]) -> [JobId; N] {
    let mut ids = Vec::new();
    for job in jobs {
        ids.push(fixture.submit(job).await);
    }
    ids.try_into().unwrap()
}

#[tokio::test]
async fn jobs_of_one_size_step_together_and_an_interactive_one_goes_first() {
    let jobs = [bulk(1, 60), bulk(2, 60), json!({ "prompt": "a blue heart", "steps": 5, "seed": 3 })];
    let expected = alone(&jobs).await;
    let fixture = two_slots().await;
    let [first, second] = submit(&fixture, &[jobs[0].clone(), jobs[1].clone()]).await;
    let worker = start(&fixture, "step=20ms,joint=0.2").await;
    for job in [&first, &second] {
        fixture.until(job, |view| view.step >= 3).await;
    }
    let urgent = fixture.submit(&jobs[2]).await;
    assert_eq!(made(&fixture.ended(&urgent).await), (expected[2].as_str(), None));
    for job in [&first, &second] {
        assert!(fixture.view(job).await.step < 60, "the interactive job waited for bulk");
    }
    for (job, expected) in [(&first, &expected[0]), (&second, &expected[1])] {
        let view = fixture.ended(job).await;
        assert_eq!(made(&view), (expected.as_str(), Some(2)));
        let receipt = view.output.unwrap().receipt;
        assert_eq!((receipt.steps, receipt.set_aside), (60, 1));
    }
    worker.stop().await;
}

#[tokio::test]
async fn one_after_another_where_it_does_not_pay_or_sizes_differ_or_memory_is_short() {
    let small = ",kept=10000000,working=50000000,memory=";
    let other = json!({ "prompt": "a red star", "class": "bulk", "steps": 100, "seed": 2, "width": 80 });
    // A picture of 64x64 takes one part in 256 of what is said of 1024x1024.
    let cases = [
        ("joint=1".to_owned(), bulk(2, 100), None),
        ("joint=0.5".to_owned(), other, None),
        (format!("joint=0.5{small}420000"), bulk(2, 100), None),
        (format!("joint=0.5{small}480000"), bulk(2, 100), Some(2)),
    ];
    for (script, second, together) in cases {
        let fixture = two_slots().await;
        let jobs = submit(&fixture, &[bulk(1, 100), second]).await;
        let worker = start(&fixture, &format!("step=5ms,{script}")).await;
        for job in &jobs {
            assert_eq!(made(&fixture.ended(job).await).1, together, "{script}");
        }
        worker.stop().await;
    }
}

#[tokio::test]
async fn one_that_is_canceled_leaves_the_other_unharmed() {
    let expected = alone(&[bulk(2, 40)]).await;
    let fixture = two_slots().await;
    let [first, second] = submit(&fixture, &[bulk(1, 100), bulk(2, 40)]).await;
    let worker = start(&fixture, "step=20ms,joint=0.2").await;
    fixture.until(&second, |view| view.step >= 3).await;
    fixture.queue.cancel(&first).await.unwrap();
    assert_eq!(fixture.ended(&first).await.state, State::Canceled);
    let left = fixture.view(&second).await.step;
    assert!(left < 40, "it was canceled when the other had ended");
    assert_eq!(made(&fixture.ended(&second).await), (expected[0].as_str(), Some(2)));
    worker.stop().await;
}

#[tokio::test]
async fn one_that_fails_fails_alone() {
    let jobs: Vec<Value> = (0..12).map(|seed| bulk(seed, 10)).collect();
    let expected = alone(&jobs).await;
    let mut fixture = two_slots().await;
    let config = uso_queue::Config { attempts: 1, ..uso_queue::Config::new(fixture.redis.url()) };
    fixture.queue = uso_queue::Queue::connect(config).await.unwrap();
    let mut ids = Vec::new();
    for job in &jobs {
        ids.push(fixture.submit(job).await);
    }
    let worker = start(&fixture, "step=5ms,joint=0.2,fail=0.2,nan=0.2").await;
    let (mut failed, mut beside) = (0, 0);
    for (id, expected) in ids.iter().zip(&expected) {
        let view = fixture.ended(id).await;
        if view.state == State::Failed {
            failed += 1;
            continue;
        }
        let (picture, together) = made(&view);
        assert_eq!(picture, expected);
        beside += usize::from(together == Some(2));
    }
    assert!(failed > 1 && beside > 1, "{failed} failed, {beside} were beside others");
    worker.stop().await;
}

#[tokio::test]
async fn what_a_stopped_worker_leaves_goes_on_elsewhere() {
    let jobs = [bulk(1, 60), bulk(2, 60)];
    let expected = alone(&jobs).await;
    let mut fixture = two_slots().await;
    fixture.settings.grace = std::time::Duration::ZERO;
    let ids = submit(&fixture, &jobs).await;
    let worker = start(&fixture, "step=20ms,joint=0.2").await;
    for job in &ids {
        fixture.until(job, |view| view.step >= 5).await;
    }
    worker.stop().await;
    let next = start(&fixture, "step=10ms,joint=0.2").await;
    for (job, expected) in ids.iter().zip(&expected) {
        let view = fixture.ended(job).await;
        assert_eq!(made(&view), (expected.as_str(), Some(2)));
        let receipt = view.output.unwrap().receipt;
        assert!(receipt.resumed_from >= 5 && receipt.resumed_from + receipt.steps == 60, "{receipt:?}");
    }
    next.stop().await;
}

/// Has an engine panic as often as it is told, at a picture whose prompt asks for it.
struct Panics(Arc<AtomicU32>);

impl Observer for Panics {
    type Sample = bool;

    fn begun(&mut self, request: &Request) -> bool {
        request.prompt == "panic"
    }

    fn before_step(&mut self, panics: &mut bool) {
        let once = |left: u32| left.checked_sub(1);
        assert!(
            !(*panics && self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, once).is_ok()),
            "the prompt says so"
        );
    }
}

#[tokio::test]
async fn a_panic_in_a_step_together_costs_only_the_job_that_causes_it() {
    let expected = alone(&[bulk(2, 60)]).await;
    let fixture = two_slots().await;
    let panics = json!({ "prompt": "panic", "class": "bulk", "steps": 60, "seed": 1 });
    let [guilty, innocent] = submit(&fixture, &[panics, bulk(2, 60)]).await;
    let left = Arc::new(AtomicU32::new(0));
    let (script, its): (Script, _) = ("step=10ms,joint=0.2".parse().unwrap(), Arc::clone(&left));
    let load = move || Ok(Observed::new(Scripted::new(script.clone()), Panics(Arc::clone(&its))));
    let device = DeviceThread::start(load, SHARING(), Condition::default()).await.unwrap();
    let worker = fixture.run(device);
    for job in [&guilty, &innocent] {
        fixture.until(job, |view| view.step >= 3).await;
    }
    // Once together, once alone.
    left.store(2, Ordering::Relaxed);
    let view = fixture.ended(&guilty).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 2), "{:?}", view.error);
    assert_eq!(left.load(Ordering::Relaxed), 0);
    let view = fixture.ended(&innocent).await;
    assert_eq!(made(&view), (expected[0].as_str(), Some(2)));
    assert_eq!(view.output.unwrap().receipt.steps, 60, "steps were done twice");
    worker.stop().await;
}
