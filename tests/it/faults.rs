//! Workers die, pause and are told to stop; Redis goes away: each job still ends once.

use std::time::Duration;

use crate::fleet::{Fleet, long_job};

#[tokio::test]
async fn a_killed_workers_job_is_finished_by_another_with_one_result() {
    let fleet = Fleet::start().await;
    let mut first = fleet.worker().await;
    let job = fleet.submit(&long_job()).await;
    let begun = fleet.sampling(&job).await;
    first.signal("KILL").await;
    assert!(!first.ended().await);
    let _second = fleet.worker().await;

    let view = fleet.ended(&job).await;
    assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
    assert!(view["fence"].as_u64() > begun["fence"].as_u64());
    assert_eq!(fleet.pictures(&job), [view["fence"].as_u64().unwrap()]);
    let events = fleet.events(&job, &begun).await;
    assert_eq!((events.get("requeued"), events.get("succeeded")), (Some(&1), Some(&1)), "{events:?}");
}

#[tokio::test]
async fn a_worker_that_comes_back_too_late_changes_nothing() {
    let fleet = Fleet::start().await;
    let mut first = fleet.worker().await;
    let job = fleet.submit(&long_job()).await;
    let begun = fleet.sampling(&job).await;
    first.signal("STOP").await;
    let _second = fleet.worker().await;
    let view = fleet.ended(&job).await;
    assert_eq!(view["state"], "succeeded");

    first.signal("CONT").await;
    first.signal("TERM").await;
    assert!(first.ended().await, "the late worker did not end in order");
    let after = fleet.ended(&job).await;
    assert_eq!(after["version"], view["version"], "a late worker changed a finished job");
    assert_eq!(after["output"]["sha256"], view["output"]["sha256"]);
    let events = fleet.events(&job, &begun).await;
    assert_eq!(events.get("succeeded"), Some(&1), "{events:?}");
}

#[tokio::test]
async fn a_job_survives_a_restart_of_redis() {
    let mut fleet = Fleet::start().await;
    let _worker = fleet.worker().await;
    let job = fleet.submit(&long_job()).await;
    let begun = fleet.sampling(&job).await;
    fleet.redis.kill().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    fleet.redis.restart().await.unwrap();

    let view = fleet.ended(&job).await;
    assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
    assert_eq!(fleet.pictures(&job).len(), 1);
    let events = fleet.events(&job, &begun).await;
    assert_eq!((events.get("requeued"), events.get("succeeded")), (None, Some(&1)), "{events:?}");
}

#[tokio::test]
async fn a_worker_told_to_stop_finishes_its_job_first() {
    let fleet = Fleet::start().await;
    let mut worker = fleet.worker().await;
    let job = fleet.submit(&long_job()).await;
    fleet.sampling(&job).await;
    worker.signal("TERM").await;
    assert!(worker.ended().await);
    assert_eq!(fleet.ended(&job).await["attempt"], 1);
}

/// An engine at a set pace.
const SCRIPTED: [&str; 3] = ["--allow-test-engine", "--engine", "scripted:step=400ms"];

#[tokio::test]
async fn sampling_goes_on_while_redis_is_gone_for_half_a_minute() {
    let mut fleet = Fleet::start().await;
    let _worker = fleet.worker_with(&SCRIPTED, &[]).await;
    let job = fleet.submit(&long_job()).await;
    let begun = fleet.sampling(&job).await;
    fleet.redis.kill().await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    fleet.redis.restart().await.unwrap();

    let back = fleet.until(&job, |view| view["step"].as_u64() > begun["step"].as_u64()).await;
    assert!(back["step"].as_u64().unwrap() >= 60, "it waited for Redis: {}", back["step"]);
    let view = fleet.ended(&job).await;
    assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
    assert_eq!(view["output"]["receipt"]["steps"], 100, "steps were done twice");
    assert_eq!(fleet.pictures(&job).len(), 1);
}

#[tokio::test]
async fn a_worker_needs_no_room_for_temporary_files() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker_with(&[], &[("TMPDIR", "/nowhere/at/all")]).await;
    let content = fleet.put("references/star.png", crate::fleet::example("content_star.png")).await;
    let job = fleet.submit(&serde_json::json!({ "content": content, "steps": 5, "seed": 1 })).await;
    let view = fleet.ended(&job).await;
    assert_eq!(view["state"], "succeeded", "{view}");
}

#[tokio::test]
async fn a_lost_device_ends_the_process_with_a_code_of_its_own_and_no_job_is_lost() {
    let fleet = Fleet::start().await;
    let args = ["--allow-test-engine", "--engine", "scripted:step=1ms,panic=1"];
    let mut worker = fleet.worker_with(&args, &[]).await;
    let (first, second) = (fleet.submit(&long_job()).await, fleet.submit(&long_job()).await);
    assert_eq!(worker.exit_code().await, Some(70));
    let _sound = fleet.worker().await;
    for job in [first, second] {
        let view = fleet.ended(&job).await;
        assert_eq!(view["state"], "succeeded", "{view}");
    }
}

#[tokio::test]
async fn a_second_signal_hands_back_what_is_half_drawn() {
    let fleet = Fleet::start().await;
    let mut worker = fleet.worker_with(&SCRIPTED, &[]).await;
    let quick = ["--allow-test-engine", "--engine", "scripted:step=1ms"];
    let job = fleet.submit(&serde_json::json!({ "prompt": "a red star", "steps": 20 })).await;
    fleet.sampling(&job).await;
    worker.signal("TERM").await;
    fleet.until(&job, |view| view["step"].as_u64() > Some(3)).await;
    worker.signal("TERM").await;
    assert!(worker.ended().await, "it did not end in order");
    let _next = fleet.worker_with(&quick, &[]).await;
    let view = fleet.ended(&job).await;
    let receipt = &view["output"]["receipt"];
    assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &1.into()), "{view}");
    let (before, now) = (receipt["resumed_from"].as_u64().unwrap(), receipt["steps"].as_u64().unwrap());
    assert!(before > 3 && before + now == 20, "{receipt}");
}
