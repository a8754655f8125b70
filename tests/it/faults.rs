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
    assert_eq!((&view["state"], &view["attempt"]), (&"succeeded".into(), &2.into()), "{view}");
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
