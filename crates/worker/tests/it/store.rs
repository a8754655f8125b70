//! Object stores that are slow, that fail, or that say nothing: work waits, and nothing is lost.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use uso_queue::{JobId, State, WorkerState};

use crate::fixture::Fixture;
use crate::store_proxy::{How, What};

/// What stands in the store's phase for a while.
#[derive(Clone, Copy, Debug)]
enum Bad {
    /// Takes connections and never answers.
    HalfOpen,
    /// Answers that it cannot now.
    Failing,
}

/// Listens where the store was.
async fn stand_in(port: u16, bad: Bad) -> JoinHandle<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    if matches!(bad, Bad::Failing) {
                        let answer =
                            "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                        let _ = stream.write_all(answer.as_bytes()).await;
                        return;
                    }
                }
            });
        }
    })
}

async fn survives(bad: Bad) {
    let mut fixture = Fixture::start().await;
    let star = fixture.example("content_star.png").await;
    let worker = fixture.scripted("step=20ms").await;
    // One is sampled when the store goes bad, and one comes then.
    let sampled = fixture.submit(&json!({ "content": star, "steps": 20 })).await;
    fixture.until(&sampled, |view| view.step > 0).await;
    fixture.stop_store().await;
    let standing_in = stand_in(fixture.store_port(), bad).await;
    let comes = fixture.submit(&json!({ "content": star, "steps": 20 })).await;
    fixture.until(&sampled, |view| view.step == 20).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fixture.view(&sampled).await.state, State::Running, "{bad:?}");

    standing_in.abort();
    let _ = standing_in.await;
    fixture.start_store().await;
    for job in [sampled, comes] {
        let view = fixture.ended(&job).await;
        assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{bad:?}: {:?}", view.error);
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_store_that_never_answers_costs_no_job() {
    survives(Bad::HalfOpen).await;
}

#[tokio::test]
async fn a_store_that_fails_costs_no_job() {
    survives(Bad::Failing).await;
}

/// One job is sampled when the store begins to refuse, and one comes then; gives both.
async fn refused(fixture: &Fixture, what: What, how: How) -> [JobId; 2] {
    let star = fixture.example("content_star.png").await;
    let sampled = fixture.submit(&json!({ "content": star, "steps": 20 })).await;
    fixture.until(&sampled, |view| view.step > 0).await;
    fixture.proxy.refuse(what, how);
    let comes = fixture.submit(&json!({ "content": star, "steps": 20 })).await;
    fixture.until(&sampled, |view| view.step == 20).await;
    [sampled, comes]
}

/// Waits until the worker says that it is in this state.
pub(crate) async fn until_it_is(fixture: &Fixture, state: WorkerState) {
    let said = async {
        while !fixture.queue.workers().await.unwrap().iter().any(|(_, _, report)| report.state == state) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), said).await.unwrap_or_else(|_| panic!("never {state:?}"));
}

/// Both succeed in their first attempt, and no step is done twice.
async fn succeed(fixture: &Fixture, jobs: &[JobId]) {
    for job in jobs {
        let view = fixture.ended(job).await;
        assert_eq!((view.state, view.attempt), (State::Succeeded, 1), "{:?}", view.error);
        let receipt = view.output.unwrap().receipt;
        assert_eq!((receipt.steps, receipt.resumed_from), (20, 0), "steps were done twice");
    }
}

#[tokio::test]
async fn a_store_that_takes_no_writes_costs_no_attempt_and_no_step() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=20ms").await;
    for status in [503, 403, 507, 500, 429] {
        let jobs = refused(&fixture, What::Writes, How::Status(status)).await;
        until_it_is(&fixture, WorkerState::WaitingForStore).await;
        // Nothing is claimed any more, though there is room.
        let waits = fixture.submit(&json!({ "steps": 20 })).await;
        fixture.proxy.refuses_again(2).await;
        assert_eq!(fixture.view(&waits).await.attempt, 0, "{status}: it was claimed");
        assert_eq!(fixture.view(&jobs[0]).await.state, State::Running, "{status}");
        fixture.proxy.relent();
        succeed(&fixture, &[jobs[0], jobs[1], waits]).await;
        until_it_is(&fixture, WorkerState::Ready).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_store_that_gives_nothing_costs_no_attempt() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=20ms").await;
    for (what, status) in
        [(What::Reads, 503), (What::Reads, 429), (What::Everything, 403), (What::Everything, 500)]
    {
        let jobs = refused(&fixture, what, How::Status(status)).await;
        until_it_is(&fixture, WorkerState::WaitingForStore).await;
        fixture.proxy.refuses_again(2).await;
        fixture.proxy.relent();
        succeed(&fixture, &jobs).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_reference_that_is_forbidden_is_the_jobs_own_fault() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=1ms").await;
    for status in [401, 403] {
        fixture.proxy.refuse(What::Bucket("library"), How::Status(status));
        let job = fixture.submit(&json!({ "content": "s3://library/a.png", "steps": 1 })).await;
        let view = fixture.ended(&job).await;
        assert_eq!((view.state, view.attempt), (State::Failed, 1));
        assert_eq!(view.error.unwrap().code, "reference_denied");
    }
    let job = fixture.submit(&json!({ "steps": 20 })).await;
    succeed(&fixture, &[job]).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_partially_sampled_picture_is_gone_on_with_once_it_can_be_read() {
    let mut fixture = Fixture::start().await;
    fixture.settings.grace = Duration::from_secs(2);
    let first = fixture.scripted("step=200ms").await;
    let job = fixture.submit(&json!({ "steps": 40 })).await;
    fixture.until(&job, |view| view.step >= 3).await;
    first.stop().await;
    let checkpoint = fixture.view(&job).await.checkpoint.expect("nothing is left of what was sampled");
    fixture.proxy.refuse(What::Reads, How::Status(503));
    let second = fixture.scripted("step=1ms").await;
    fixture.proxy.refuses_again(2).await;
    fixture.proxy.relent();
    let view = fixture.ended(&job).await;
    let receipt = view.output.unwrap().receipt;
    assert!(receipt.resumed_from >= checkpoint.step, "{receipt:?}");
    second.stop().await;
}

#[tokio::test]
async fn a_worker_ends_within_its_grace_whatever_the_store_does() {
    for how in [How::Silence, How::Status(503)] {
        let mut fixture = Fixture::start().await;
        fixture.settings.grace = Duration::from_secs(4);
        let worker = fixture.scripted("step=20ms").await;
        let jobs = refused(&fixture, What::Everything, how).await;
        worker.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), worker.task).await;
        ended.unwrap_or_else(|_| panic!("{how:?}: it still runs")).unwrap().unwrap();
        for job in jobs {
            let view = fixture.view(&job).await;
            assert_eq!((view.state, view.attempt), (State::Queued, 0), "{how:?}");
        }
    }
}
