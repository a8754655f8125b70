//! What must hold when all is over.

use std::collections::{BTreeMap, HashMap, HashSet};

use uso_engine::{DecodeLimits, Engine as _, Image, PositionShift, Request, Script, Scripted};
use uso_queue::{JobId, JobSpec, JobView, State};

use super::clients::Order;
use super::site::Site;
use super::witness::Seen;

/// Gives what there is to say about a run in which all is as it must be.
pub(crate) async fn check(site: &Site, orders: &[Order], seen: &Seen) -> String {
    assert_eq!(seen.faults, [], "the history has faults");
    let ids: HashSet<_> = orders.iter().map(|order| order.id).collect();
    assert_eq!(ids.len(), orders.len(), "two keys share a job");
    assert_eq!(seen.ends.len(), orders.len(), "jobs that ended and jobs that were accepted");

    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    for order in orders {
        let view = site.queue.view(&order.id).await.unwrap().unwrap_or_else(|| panic!("{order:?} is lost"));
        check_end(order, &view, seen);
        match view.state {
            State::Succeeded => check_picture(site, &view),
            State::Failed => {
                let code = view.error.unwrap().code;
                check_failure(order, &code, seen);
                *failures.entry(code).or_default() += 1;
            }
            State::Canceled => assert!(order.canceled || order.batch.is_some(), "{order:?} was canceled"),
            state => panic!("{order:?} is {state:?}"),
        }
        *states.entry(view.state.as_str()).or_default() += 1;
    }
    let failed = states.get("failed").copied().unwrap_or(0);
    check_batches(site, orders).await;
    check_queue(site, orders.len(), failed).await;
    let Seen { requeued, resumed, .. } = seen;
    format!("{states:?}, failures {failures:?}, requeued {requeued:?}, resumed {resumed}")
}

/// A job fails only by what the engine was told to do to it, for all the attempts that it had, and by workers that died
/// over it twice. Nothing else may be to blame.
fn check_failure(order: &Order, code: &str, seen: &Seen) {
    let count = |of: &HashMap<JobId, usize>| of.get(&order.id).copied().unwrap_or(0);
    let (lost, retried) = (count(&seen.lost), count(&seen.retried));
    let spent = match code {
        // The last one is not followed by another attempt.
        "worker_lost" => lost >= 1,
        "scripted_failure" | "engine_panicked" | "device_lost" => retried >= 2,
        _ => false,
    };
    assert!(spent, "{order:?} failed by {code}, after {lost} lost workers and {retried} failures");
}

/// One end, the one that everybody was told of.
fn check_end(order: &Order, view: &JobView, seen: &Seen) {
    assert_eq!(view.spec.prompt, order.key, "the job of {} is another's", order.key);
    assert_eq!(view.spec.seed, order.body["seed"].as_u64().unwrap());
    let ends = seen.ends.get(&order.id).map(Vec::as_slice).unwrap_or_default();
    assert_eq!(ends, [view.state.as_str()], "{order:?}");
    assert!(!order.canceled || view.state == State::Canceled, "{order:?} is {:?}", view.state);
}

/// The picture is the accepted attempt's, whole, and the one that was asked for.
fn check_picture(site: &Site, view: &JobView) {
    let output = view.output.as_ref().unwrap();
    assert_eq!(output.uri, format!("s3://uso/jobs/{}/{}/0.png", view.id, view.fence));
    let path = site.data.path().join("s3").join(output.uri.trim_start_matches("s3://"));
    let png = std::fs::read(&path).unwrap();
    assert_eq!(uso_store::hexadecimal_sha256(&png), output.sha256, "{}", output.uri);
    let picture = Image::decode(&png, &DecodeLimits::default()).unwrap();
    assert!(picture == expected(&view.spec), "{} shows something else", output.uri);
}

fn expected(spec: &JobSpec) -> Image {
    let request = Request {
        prompt: spec.prompt.clone(),
        content: None,
        styles: Vec::new(),
        width: spec.width,
        height: spec.height,
        keep_size: spec.keep_size,
        content_size: spec.content_size,
        steps: spec.steps,
        guidance: spec.guidance,
        seed: spec.seed,
        position_shift: PositionShift::default(),
        loras: Vec::new(),
        step_cache: 0.0,
    };
    let mut engine = Scripted::new(Script::default());
    let mut sample = engine.encode(&request).unwrap();
    while !engine.steps(&sample).is_done() {
        engine.step(&mut sample).unwrap();
    }
    engine.decode(&sample).unwrap()
}

/// Batches count each of their jobs, in the state that it ended in.
async fn check_batches(site: &Site, orders: &[Order]) {
    let batches: HashSet<_> = orders.iter().filter_map(|order| order.batch).collect();
    for batch in batches {
        let jobs = orders.iter().filter(|order| order.batch == Some(batch)).count() as u64;
        let counts = site.queue.batch(&batch).await.unwrap().unwrap().counts;
        let ended = counts.succeeded + counts.failed + counts.canceled + counts.expired;
        assert_eq!((counts.total, ended), (jobs, jobs), "batch {batch}: {counts:?}");
    }
}

async fn check_queue(site: &Site, jobs: usize, failed: usize) {
    let audit = site.queue.audit().await.unwrap();
    assert_eq!(audit.faults, []);
    assert_eq!(audit.jobs, jobs as u64, "jobs that nobody knows of");
    let letters = site.queue.dead_letters(jobs).await.unwrap();
    assert!(letters.len() <= failed, "{} dead letters of {failed} failed jobs", letters.len());
    for letter in letters {
        assert!(matches!(letter.reason.as_str(), "poison" | "attempts spent"), "{letter:?}");
    }
}
