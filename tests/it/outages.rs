//! Stores that refuse under load, and settings that come from outside: real processes, no job lost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::process::Process;
use crate::store_proxy::{How, What};

/// An engine at a set pace.
const SCRIPTED: [&str; 4] = ["--allow-test-engine", "--engine", "scripted:step=10ms", "--slots=2"];

/// Submits, through two workers, until `jobs` are accepted and `over`; the store relents after `outage`. Gives
/// the jobs' paths.
async fn under_load(fleet: &Fleet, what: What, how: How, outage: Duration, jobs: usize) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for number in 0..jobs {
        // Half of them wait already when it begins.
        if number == jobs / 2 {
            fleet.until(&paths[0], |view| view["finished_ms"].is_u64()).await;
            fleet.proxy.refuse(what, how);
        }
        paths.push(fleet.submit(&json!({ "prompt": "a red star", "steps": 20 })).await);
    }
    tokio::time::sleep(outage).await;
    fleet.proxy.relent();
    paths
}

async fn none_failed_and_no_step_was_repeated(fleet: &Fleet, jobs: &[String]) {
    for job in jobs {
        let view = fleet.ended(job).await;
        assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
        let receipt = &view["output"]["receipt"];
        let before = receipt["resumed_from"].as_u64().unwrap_or(0);
        assert_eq!(before + receipt["steps"].as_u64().unwrap(), 20, "steps were done twice: {receipt}");
        assert_eq!(fleet.pictures(job).len(), 1, "it was drawn twice");
    }
}

#[tokio::test]
async fn a_store_that_refuses_under_load_loses_no_job_and_no_step() {
    let fleet = Fleet::start().await;
    let _workers = (fleet.worker_with(&SCRIPTED, &[]).await, fleet.worker_with(&SCRIPTED, &[]).await);
    // Set, for example, to 60 for a long outage.
    let seconds = std::env::var("USO_OUTAGE_S").ok().map_or(8, |text| text.parse().unwrap());
    let jobs = std::env::var("USO_OUTAGE_JOBS").ok().map_or(100, |text| text.parse().unwrap());
    for (what, status) in
        [(What::Writes, 503), (What::Writes, 507), (What::Writes, 500), (What::Everything, 403)]
    {
        let outage = Duration::from_secs(seconds);
        let jobs = under_load(&fleet, what, How::Status(status), outage, jobs).await;
        none_failed_and_no_step_was_repeated(&fleet, &jobs).await;
    }
}

#[tokio::test]
async fn a_worker_ends_within_its_grace_though_the_store_says_nothing() {
    let fleet = Fleet::start().await;
    let args = [&SCRIPTED[..], &["--grace", "3s"]].concat();
    let mut worker = fleet.worker_with(&args, &[]).await;
    let job = fleet.submit(&json!({ "prompt": "a red star", "steps": 100 })).await;
    fleet.sampling(&job).await;
    fleet.proxy.refuse(What::Everything, How::Silence);
    fleet.until(&job, |view| view["step"] == 100).await;
    worker.signal("TERM").await;
    let begun = Instant::now();
    assert!(worker.ended().await, "it did not end in order");
    assert!(begun.elapsed() < Duration::from_millis(4500), "{:?}", begun.elapsed());
    // While it starts, nothing was begun.
    let starts = tokio::process::Command::new(crate::process::binary())
        .args(["work"])
        .envs(fleet.environment())
        .kill_on_drop(true)
        .spawn();
    let mut starts = starts.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pid = starts.id().unwrap().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), starts.wait()).await;
    assert!(ended.expect("it goes on").unwrap().success());
    fleet.proxy.relent();
    let _next = fleet.worker_with(&SCRIPTED, &[]).await;
    let view: Value = fleet.ended(&job).await;
    assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
}

#[tokio::test]
async fn the_endpoint_of_awss_own_settings_counts_with_blanks_around_it() {
    let fleet = Fleet::start().await;
    let endpoint = fleet.proxy.endpoint();
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let environment: Vec<(&str, String)> = fleet
            .environment()
            .map(|(name, value)| (name, value.to_owned()))
            .filter(|(name, _)| *name != "USO_S3_ENDPOINT")
            .map(|(name, value)| (name, if name.starts_with("AWS_") { value + "\n" } else { value }))
            .chain([(name, format!(" {endpoint}\n")), ("USO_S3_ENDPOINT", String::new())])
            .collect();
        let api = Process::start(&["serve", "--listen", "127.0.0.1:0"], &environment).await;
        assert_eq!(reqwest::get(format!("{}/readyz", api.address())).await.unwrap().status(), 200, "{name}");
        let page = reqwest::get(api.address()).await.unwrap();
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains(&format!("connect-src 'self' {endpoint};")), "{name}: {policy}");
        let asked = json!({ "content_type": "image/png", "bytes": 9 });
        let upload = fleet.client.post(format!("{}/v1/uploads", api.address())).json(&asked).send().await;
        let upload: Value = upload.unwrap().json().await.unwrap();
        let url = upload["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{endpoint}/uso/uploads/")), "{name}: not by path: {url}");
    }
}
