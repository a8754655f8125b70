//! Links that fall silent, devices that hang, and jobs that end their process: who is blamed, and how long work
//! stands still. Counts are asserted; times are printed, for whoever measures.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::Dice;
use crate::fleet::Fleet;
use crate::link::Link;
use crate::process::Process;

/// An engine at a set pace.
const SCRIPTED: [&str; 3] = ["--allow-test-engine", "--engine", "scripted:step=100ms"];

/// A number that the environment may set.
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// A worker over a link of its own.
async fn linked(fleet: &Fleet) -> (Link, Process) {
    let link = Link::to(&fleet.redis.url()).await;
    let worker = fleet.worker_with(&SCRIPTED, &[("USO_REDIS", link.url())]).await;
    (link, worker)
}

/// Submits jobs of 30 steps, enough for two workers, until `over`; gives all of them.
async fn keep_busy(fleet: &Fleet, over: impl Future<Output = ()>) -> Vec<String> {
    let mut jobs: Vec<String> = Vec::new();
    tokio::pin!(over);
    loop {
        jobs.push(fleet.submit(&json!({ "prompt": "a red star", "class": "bulk", "steps": 30 })).await);
        tokio::select! {
            () = &mut over => return jobs,
            () = tokio::time::sleep(Duration::from_millis(1500)) => {}
        }
    }
}

/// Each job ended well in its first attempt, and no worker has lost its lease.
async fn no_lease_was_lost(fleet: &Fleet, jobs: &[String]) {
    for job in jobs {
        let view = fleet.ended(job).await;
        assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
        assert_eq!(view["output"]["receipt"]["steps"], 30, "steps were done twice: {view}");
        // What waits for its turn may be given to a worker without work.
        let events = fleet.get(&format!("{job}/events?after=0-0")).await.text().await.unwrap();
        assert!(!events.contains("lease_lost"), "{job}: {events}");
    }
}

#[tokio::test]
async fn silent_links_cost_no_lease() {
    let fleet = Fleet::start().await;
    let (link, _first) = linked(&fleet).await;
    let _second = fleet.worker_with(&SCRIPTED, &[]).await;
    // Set, for example, to 50 silences of 9000 ms.
    let (times, length) = (setting("USO_STALLS", 3), setting("USO_STALL_MS", 8000));
    let mut dice = Dice::new(setting("USO_STALL_SEED", 1));
    let silences = async {
        for _ in 0..times {
            tokio::time::sleep(Duration::from_millis(1500 + dice.below(2000))).await;
            link.silence(true);
            tokio::time::sleep(Duration::from_millis(length)).await;
            link.silence(false);
        }
    };
    let jobs = keep_busy(&fleet, silences).await;
    no_lease_was_lost(&fleet, &jobs).await;
    eprintln!("{times} silences of {length} ms: no lease of {} jobs lost", jobs.len());
}

#[tokio::test]
async fn a_long_silence_moves_the_job_and_spends_nothing() {
    let fleet = Fleet::start().await;
    let (link, _first) = linked(&fleet).await;
    let job = fleet.submit(&json!({ "prompt": "a red star", "class": "bulk", "steps": 100 })).await;
    let begun = fleet.sampling(&job).await;
    let _second = fleet.worker_with(&SCRIPTED, &[]).await;
    link.silence(true);
    let silent = Instant::now();
    let moved = fleet.until(&job, |view| view["fence"].as_u64() > begun["fence"].as_u64()).await;
    eprintln!("claimed by the next worker after {:?} of silence", silent.elapsed());
    assert_eq!(moved["attempt"], 1, "{moved}");
    let view = fleet.ended(&job).await;
    assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
    // The silent worker may have stored its picture too: it counts for nothing.
    let counts = format!("/{}/0.png", view["fence"]);
    assert!(view["output"]["uri"].as_str().unwrap().ends_with(&counts), "{view}");
    link.silence(false);
}

#[tokio::test]
#[ignore = "takes more than a minute, the least that a step is waited for; the worker's own tests wait for less"]
async fn a_device_that_hangs_hands_its_job_over() {
    let fleet = Fleet::start().await;
    let hanging = ["--allow-test-engine", "--engine", "scripted:step=100ms,hang=1"];
    let patience = "60s";
    let args = [&hanging[..], &["--hang-after", patience]].concat();
    let mut first = fleet.worker_with(&args, &[]).await;
    let body = json!({ "prompt": "a red star", "class": "bulk", "steps": 30 });
    let job = fleet.submit(&body).await;
    let begun = fleet.sampling(&job).await;
    let _second = fleet.worker_with(&SCRIPTED, &[]).await;
    let last = Cell::new((0, Instant::now()));
    let moved = fleet.until(&job, |view| {
        let (step, seen) = (view["step"].as_u64().unwrap_or(0), last.get());
        if step > seen.0 {
            last.set((step, Instant::now()));
        }
        view["fence"].as_u64() > begun["fence"].as_u64()
    });
    let moved = moved.await;
    let stood = last.get().1.elapsed();
    eprintln!("started elsewhere {stood:?} after its last step, with {patience} of patience");
    assert_eq!(moved["attempt"], 1, "{moved}");
    assert_eq!(first.exit_code().await, Some(75));
    assert_eq!(fleet.ended(&job).await["state"], "succeeded");
}

#[tokio::test]
async fn a_job_that_ends_its_process_ends_two_of_them_though_links_fall_silent() {
    let fleet = Fleet::start().await;
    let mut workers = vec![linked(&fleet).await, linked(&fleet).await];
    let killer = fleet.submit(&json!({ "prompt": "a killer", "class": "bulk", "steps": 100 })).await;
    let mut dice = Dice::new(setting("USO_STALL_SEED", 1));
    let mut killed = 0;
    let mut others = Vec::new();
    loop {
        others.push(fleet.submit(&json!({ "prompt": "a red star", "class": "bulk", "steps": 30 })).await);
        let view: Value = fleet.get(&killer).await.json().await.unwrap();
        if view["finished_ms"].is_u64() {
            break;
        }
        let is_sampled = view["step"].as_u64() > Some(0) && view["state"] == "running";
        if is_sampled && let Some(holder) = holder(&fleet, &view, &workers).await {
            // What it does to every process that samples it.
            workers[holder].1.kill().await;
            killed += 1;
            workers[holder] = linked(&fleet).await;
        } else {
            let link = &workers[dice.below(2) as usize].0;
            link.silence(true);
            tokio::time::sleep(Duration::from_millis(500 + dice.below(3000))).await;
            link.silence(false);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    let view = fleet.ended(&killer).await;
    assert_eq!((&view["state"], &view["error"]["code"]), (&"failed".into(), &"worker_lost".into()), "{view}");
    assert_eq!(killed, 2);
    for job in &others {
        let view = fleet.ended(job).await;
        assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
    }
}

/// Which of the workers holds the job with this view, if it has reported itself yet.
async fn holder(fleet: &Fleet, view: &Value, workers: &[(Link, Process)]) -> Option<usize> {
    let reports = fleet.queue().await.workers().await.unwrap();
    let (_, _, report) = reports.into_iter().find(|(id, ..)| view["worker"] == id.as_str())?;
    workers.iter().position(|(_, process)| process.id() == Some(report.pid))
}
