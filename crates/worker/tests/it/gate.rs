//! Jobs with a quality gate: how often they are sampled, which picture they end with, and what that costs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use uso_engine::scripted::score;
use uso_queue::{Blocked, Config, Gate, JobId, JobView, Measure, Output, Queue, Scorer, State};
use uso_worker::{Condition, DeviceThread, Scoring, Settings, Sharing};

use crate::fixture::{Fixture, Running};
use crate::patient::Patient;

const STEPS: u32 = 3;

fn job(seed: u64, gate: Value) -> Value {
    json!({ "prompt": "a red star", "steps": STEPS, "seed": seed, "gate": gate })
}

/// What the scripted scorer says of a try.
fn clip_t(seed: u64, number: u32) -> f64 {
    (score(Gate::seed_of(seed, number), "clip_t") * 1e6).round() / 1e6
}

/// The first of some tries that is good enough.
fn first(seed: u64, least: f64, tries: u32) -> Option<u32> {
    (0..tries).find(|number| clip_t(seed, *number) >= least)
}

/// The first seed with such tries.
fn seed_where(holds: impl Fn(u64) -> bool) -> u64 {
    (1..100_000).find(|seed| holds(*seed)).unwrap()
}

fn scoring() -> Settings {
    Settings { scoring: Some(Scoring::scripted(&[Scorer::Clip])), ..Settings::default() }
}

async fn fixture() -> Fixture {
    let mut fixture = Fixture::start().await;
    fixture.settings = scoring();
    fixture
}

fn output(view: &JobView) -> &Output {
    assert_eq!(view.state, State::Succeeded, "{:?}", view.error);
    view.output.as_ref().unwrap()
}

/// The picture of a job of that seed which nobody scores.
async fn plain(fixture: &Fixture, job: &Value, seed: u64) -> String {
    let mut job = job.clone();
    job["seed"] = seed.into();
    job.as_object_mut().unwrap().remove("gate");
    let id = fixture.submit(&job).await;
    output(&fixture.ended(&id).await).sha256.clone()
}

#[tokio::test]
async fn tries_cost_and_acceptance_come_out_as_computed() {
    const LEAST: f64 = 0.7;
    let fixture = fixture().await;
    let worker = fixture.scripted("step=1ms").await;
    let gate = json!({ "scorers": ["clip"], "min": { "clip_t": LEAST }, "tries": 3 });
    let (mut accepted, mut sampled) = (0, 0);
    for seed in 1..=30 {
        let id = fixture.submit(&job(seed, gate.clone())).await;
        let view = fixture.ended(&id).await;
        let Some(taken) = first(seed, LEAST, 3) else {
            sampled += 3;
            let failure = view.error.unwrap();
            assert_eq!(
                (failure.code.as_str(), failure.retryable, view.attempt),
                ("below_threshold", false, 1)
            );
            assert!(failure.device_ms.unwrap() >= 3 * u64::from(STEPS), "{failure:?}");
            assert!(
                failure.message.starts_with("none of 3 pictures reaches clip_t 0.7: seed "),
                "{failure:?}"
            );
            for number in 0..3 {
                let words = format!("seed {}: clip_t {}", Gate::seed_of(seed, number), clip_t(seed, number));
                assert!(failure.message.contains(&words), "{words}: {failure:?}");
            }
            continue;
        };
        accepted += 1;
        sampled += taken + 1;
        let (output, scores) = (output(&view), output(&view).scores.as_ref().unwrap());
        assert_eq!((scores.accepted, scores.taken, output.receipt.tries), (true, taken, Some(taken + 1)));
        let found: Vec<_> =
            scores.tries.iter().map(|each| (each.seed, each.scores[&Measure::ClipT])).collect();
        let expected = (0..=taken).map(|number| (Gate::seed_of(seed, number), clip_t(seed, number)));
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert_eq!(scores.profiles[&Measure::ClipT], "scripted-1");
        assert_eq!(output.receipt.steps, (taken + 1) * STEPS);
        let device_ms: u64 = scores.tries.iter().map(|each| each.device_ms).sum();
        assert_eq!(output.receipt.device_ms, device_ms);
        assert!(device_ms >= u64::from((taken + 1) * STEPS));
    }
    let expected: Vec<_> = (1..=30).map(|seed| first(seed, LEAST, 3)).collect();
    assert_eq!(accepted, expected.iter().flatten().count());
    let expected = expected.iter().map(|taken| taken.map_or(3, |taken| taken + 1));
    assert_eq!(sampled, expected.sum::<u32>());
    worker.stop().await;
}

#[tokio::test]
async fn the_picture_is_that_of_the_seed_that_was_taken_and_says_so() {
    let fixture = fixture().await;
    let worker = fixture.scripted("").await;
    let seed = seed_where(|seed| first(seed, 0.5, 4) == Some(2));
    let body = job(seed, json!({ "scorers": ["clip"], "min": { "clip_t": 0.5 }, "tries": 4 }));
    let id = fixture.submit(&body).await;
    let view = fixture.ended(&id).await;
    let taken = Gate::seed_of(seed, 2);
    assert_eq!(output(&view).sha256, plain(&fixture, &body, taken).await);
    let sidecar: Value = serde_json::from_slice(&fixture.object(&output(&view).sidecar)).unwrap();
    assert_eq!(sidecar["parameters"]["seed"], taken);
    assert_eq!(sidecar["scores"], json!(output(&view).scores));
    assert_eq!(sidecar["receipt"]["tries"], 3);
    worker.stop().await;
}

#[tokio::test]
async fn without_thresholds_a_picture_is_only_scored() {
    let fixture = fixture().await;
    let worker = fixture.scripted("").await;
    let id = fixture.submit(&job(5, json!({ "scorers": ["clip"], "tries": 4 }))).await;
    let view = fixture.ended(&id).await;
    let scores = output(&view).scores.as_ref().unwrap();
    assert_eq!((scores.accepted, scores.tries.len()), (true, 1));
    assert_eq!(scores.phash.as_ref().unwrap().len(), 16);
    let id = fixture.submit(&json!({ "prompt": "a red star", "steps": 2 })).await;
    let view = fixture.ended(&id).await;
    assert_eq!((&output(&view).scores, output(&view).receipt.tries), (&None, None));
    worker.stop().await;
}

#[tokio::test]
async fn the_best_picture_is_kept_where_that_is_asked_for() {
    let fixture = fixture().await;
    let worker = fixture.scripted("").await;
    let gate = json!({ "scorers": ["clip"], "min": { "clip_t": 1.0 }, "tries": 3, "keep_best": true });
    for best in 0..3 {
        let largest = |seed| (0..3).max_by(|a, b| clip_t(seed, *a).total_cmp(&clip_t(seed, *b))).unwrap();
        let seed = seed_where(|seed| largest(seed) == best && first(seed, 1.0, 3).is_none());
        let body = job(seed, gate.clone());
        let id = fixture.submit(&body).await;
        let view = fixture.ended(&id).await;
        let scores = output(&view).scores.as_ref().unwrap();
        assert_eq!((scores.accepted, scores.taken, scores.tries.len()), (false, best, 3));
        assert_eq!(output(&view).receipt.steps, 3 * STEPS, "it was sampled once more");
        assert_eq!(output(&view).sha256, plain(&fixture, &body, Gate::seed_of(seed, best)).await);
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_job_waits_for_a_worker_that_has_its_scorers() {
    let mut fixture = Fixture::start().await;
    let without = fixture.scripted("").await;
    let id = fixture.submit(&job(1, json!({ "scorers": ["clip"] }))).await;
    let view = fixture.until(&id, |view| view.blocked.is_some()).await;
    assert_eq!((view.state, view.attempt), (State::Queued, 0));
    let scorers = vec!["clip".to_owned()];
    assert_eq!(view.blocked, Some(Blocked::Scorers { scorers, loras: Vec::new() }));
    fixture.settings = scoring();
    let with = fixture.scripted("").await;
    assert_eq!(fixture.ended(&id).await.state, State::Succeeded);
    without.stop().await;
    with.stop().await;
}

/// A bulk job of many steps, in a fleet that hears soon that the window has closed.
async fn interruptible(seed: u64, gate: Value) -> (Fixture, Value) {
    let mut fixture = fixture().await;
    let config = Config { renew: Duration::from_millis(50), ..Config::new(fixture.redis.url()) };
    fixture.queue = Queue::connect(config).await.unwrap();
    let body = json!({ "prompt": "a red star", "steps": 40, "seed": seed, "class": "bulk", "gate": gate });
    (fixture, body)
}

/// Begins a job and has it handed back in its second try; then another worker ends it.
async fn handed_back_in_the_second_try(fixture: &Fixture, body: &Value) -> (JobId, JobView) {
    let worker = fixture.scripted("step=20ms").await;
    let id = fixture.submit(body).await;
    fixture.until(&id, |view| view.checkpoint.as_ref().is_some_and(|copy| copy.tries.len() == 1)).await;
    fixture.until(&id, |view| (3..30).contains(&view.step)).await;
    fixture.open_window(false).await;
    let view = fixture.until(&id, |view| view.state == State::Queued).await;
    let checkpoint = view.checkpoint.unwrap();
    assert_eq!((view.attempt, checkpoint.tries.len()), (0, 1));
    assert!((3..40).contains(&checkpoint.step), "{checkpoint:?}");
    worker.stop().await;
    let other = fixture.scripted("").await;
    fixture.open_window(true).await;
    let view = fixture.ended(&id).await;
    let scores = output(&view).scores.as_ref().unwrap();
    assert_eq!(scores.tries[0], checkpoint.tries[0], "it was sampled again");
    assert_eq!(output(&view).receipt.resumed_from, checkpoint.step);
    other.stop().await;
    (id, view)
}

#[tokio::test]
async fn a_job_handed_back_in_its_second_try_goes_on_there() {
    let seed = seed_where(|seed| first(seed, 0.5, 2) == Some(1));
    let gate = json!({ "scorers": ["clip"], "min": { "clip_t": 0.5 }, "tries": 2 });
    let (fixture, body) = interruptible(seed, gate).await;
    let (_, view) = handed_back_in_the_second_try(&fixture, &body).await;
    let receipt = &output(&view).receipt;
    assert_eq!((receipt.tries, receipt.steps), (Some(2), 40 - receipt.resumed_from));
    let scores = output(&view).scores.as_ref().unwrap();
    assert_eq!((scores.accepted, scores.taken), (true, 1));
    assert!(receipt.device_ms >= 40 * 20, "the first try has cost the device, too: {receipt:?}");
    let worker = fixture.scripted("").await;
    assert_eq!(output(&view).sha256, plain(&fixture, &body, Gate::seed_of(seed, 1)).await);
    worker.stop().await;
}

#[tokio::test]
async fn the_best_picture_is_sampled_again_where_another_worker_had_it() {
    let seed = seed_where(|seed| clip_t(seed, 0) > clip_t(seed, 1) && first(seed, 1.0, 2).is_none());
    let gate = json!({ "scorers": ["clip"], "min": { "clip_t": 1.0 }, "tries": 2, "keep_best": true });
    let (fixture, body) = interruptible(seed, gate).await;
    let worker = fixture.scripted("step=20ms").await;
    let id = fixture.submit(&body).await;
    fixture.until(&id, |view| view.checkpoint.as_ref().is_some_and(|copy| copy.tries.len() == 1)).await;
    fixture.open_window(false).await;
    fixture.until(&id, |view| view.state == State::Queued).await;
    worker.stop().await;
    let other = fixture.scripted("").await;
    fixture.open_window(true).await;
    let view = fixture.ended(&id).await;
    let scores = output(&view).scores.as_ref().unwrap();
    assert_eq!((scores.accepted, scores.taken, scores.tries.len()), (false, 0, 2));
    assert!(output(&view).receipt.steps >= 40, "it is another worker's picture");
    assert_eq!(output(&view).sha256, plain(&fixture, &body, seed).await);
    other.stop().await;
}

/// A worker whose first two samples end by what an early look finds, however late that comes, or not at all.
async fn patient(fixture: &Fixture) -> Running {
    let load = || Ok(Patient::new("", 2, 1));
    fixture.run(DeviceThread::start(load, Sharing::default(), Condition::default()).await.unwrap())
}

#[tokio::test]
async fn hopeless_pictures_are_dropped_early_and_count_as_tries() {
    let fixture = fixture().await;
    let worker = patient(&fixture).await;
    let seed = seed_where(|seed| first(seed, 0.6, 3) == Some(2));
    let gate = json!({
        "scorers": ["clip"], "min": { "clip_t": 0.6 }, "tries": 3, "early": { "step": 1, "min": { "clip_t": 0.6 } },
    });
    let mut body = job(seed, gate);
    body["steps"] = 50.into();
    let id = fixture.submit(&body).await;
    let view = fixture.ended(&id).await;
    let scores = output(&view).scores.as_ref().unwrap();
    let dropped: Vec<_> = scores.tries.iter().map(|each| each.dropped).collect();
    assert_eq!((scores.accepted, scores.taken, dropped), (true, 2, vec![Some(1), Some(1), None]));
    assert_eq!(
        scores.tries[0].scores,
        BTreeMap::from([
            (Measure::ClipI, (score(seed, "clip_i") * 1e6).round() / 1e6),
            (Measure::ClipT, clip_t(seed, 0)),
            (Measure::Sharpness, (score(seed, "sharpness") * 1e6).round() / 1e6),
            (Measure::Flatness, (score(seed, "flatness") * 1e6).round() / 1e6),
        ])
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_dropped_picture_is_finished_if_it_is_the_best() {
    let fixture = fixture().await;
    let worker = patient(&fixture).await;
    let seed = seed_where(|seed| clip_t(seed, 1) > clip_t(seed, 0) && first(seed, 1.0, 2).is_none());
    let gate = json!({
        "scorers": ["clip"], "min": { "clip_t": 1 }, "tries": 2, "keep_best": true,
        "early": { "step": 1, "min": { "clip_t": 1 } },
    });
    let mut body = job(seed, gate);
    body["steps"] = 50.into();
    let id = fixture.submit(&body).await;
    let view = fixture.ended(&id).await;
    let scores = output(&view).scores.as_ref().unwrap();
    assert_eq!((scores.accepted, scores.taken, scores.tries[1].dropped), (false, 1, None));
    assert_eq!(output(&view).sha256, plain(&fixture, &body, Gate::seed_of(seed, 1)).await);
    worker.stop().await;
}

#[tokio::test]
async fn the_bundled_models_scorer_sees_the_whole_references() {
    let mut fixture = Fixture::start().await;
    fixture.settings.scoring = Some(Scoring::bundled().unwrap());
    let worker = fixture.worker().await;
    let (content, style) =
        (fixture.example("content_heart.png").await, fixture.example("style_sketch.png").await);
    let body = json!({
        "prompt": "the heart is at the right on a sandy beach", "content": content, "styles": [style], "seed": 1,
        "steps": 4, "gate": { "scorers": ["bundled"], "min": { "siglip_style": -1, "siglip_subject": -1 } },
    });
    let id = fixture.submit(&body).await;
    let view = fixture.ended(&id).await;
    let scores = output(&view).scores.as_ref().unwrap();
    assert!(scores.accepted);
    let mut own = uso_engine::scorers::Scorers::bundled(&uso_engine::device::Device::Cpu).unwrap();
    let limits = uso_engine::DecodeLimits::default();
    let image = |bytes: &[u8]| uso_engine::Image::decode(bytes, &limits).unwrap();
    let picture = image(&fixture.object(&output(&view).uri));
    let [content, style] =
        [&body["content"], &body["styles"][0]].map(|uri| image(&fixture.object(uri.as_str().unwrap())));
    let expected = own.score(&picture, Some(&content), &[style], "").unwrap();
    let taken = &scores.taken().unwrap().scores;
    let subject = f64::from(expected.siglip_subject.as_ref().unwrap().value);
    let style = f64::from(expected.siglip_style.unwrap().mean);
    assert!((taken[&Measure::SiglipSubject] - subject).abs() < 1e-6, "{taken:?}");
    assert!((taken[&Measure::SiglipStyle] - style).abs() < 1e-6, "{taken:?}");
    assert_eq!(scores.profiles[&Measure::SiglipSubject], expected.siglip_subject.unwrap().profile);
    assert_eq!(scores.phash, Some(expected.phash.value.to_string()));
    worker.stop().await;
}
