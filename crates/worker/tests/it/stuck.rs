//! A device that hangs: its worker ends, its jobs go on elsewhere.

use std::time::Duration;

use serde_json::json;
use uso_queue::{JobId, State};
use uso_worker::{Error, Patience, Sharing};

use crate::fixture::{Fixture, Running};

const PATIENCE: Patience = Patience { step: Duration::from_millis(500), first: Duration::from_secs(60) };

async fn hanging(fixture: &Fixture, script: &str) -> Running {
    fixture.scripted_sharing(script, Sharing { patience: PATIENCE, ..Sharing::default() }).await
}

async fn submit(fixture: &Fixture, class: &str) -> JobId {
    fixture.submit(&json!({ "prompt": "a red star", "class": class, "steps": 5 })).await
}

/// Waits until the worker has ended because its device hangs.
async fn until_stuck(worker: Running) {
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.task).await.expect("it goes on");
    assert!(matches!(ended.unwrap(), Err(Error::DeviceStuck)));
}

#[tokio::test]
async fn a_job_at_which_the_device_hangs_goes_on_elsewhere() {
    let fixture = Fixture::start().await;
    let worker = hanging(&fixture, "hang=1").await;
    let job = submit(&fixture, "bulk").await;
    // Another one is fetched ahead: it is to blame for nothing.
    let ahead = submit(&fixture, "bulk").await;
    until_stuck(worker).await;
    let state = async |job| {
        let view = fixture.view(job).await;
        (view.state, view.attempt)
    };
    assert_eq!(state(&job).await, (State::Queued, 0), "no attempt is spent");
    assert_eq!(state(&ahead).await, (State::Queued, 0));

    let worker = fixture.scripted("step=1ms").await;
    for job in [job, ahead] {
        assert_eq!(fixture.ended(&job).await.state, State::Succeeded);
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_hangs_every_device_is_poison_to_two() {
    let fixture = Fixture::start().await;
    let job = submit(&fixture, "bulk").await;
    let mut workers = 0;
    while fixture.view(&job).await.state != State::Failed {
        workers += 1;
        until_stuck(hanging(&fixture, "hang=1").await).await;
    }
    assert_eq!(workers, 2);
    let letters = fixture.queue.dead_letters(10).await.unwrap();
    assert_eq!((letters[0].reason.as_str(), letters[0].job), ("poison", Some(job)));
}
