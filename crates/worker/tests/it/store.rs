//! Object stores that are slow, that fail, or that say nothing: work waits, and nothing is lost.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use uso_queue::State;

use crate::fixture::Fixture;

/// What stands in the store's place for a while.
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
    // One is drawn when the store goes bad, and one comes then.
    let drawn = fixture.submit(&json!({ "content": star, "steps": 20 })).await;
    fixture.until(&drawn, |view| view.step > 0).await;
    fixture.stop_store().await;
    let standing_in = stand_in(fixture.store_port(), bad).await;
    let comes = fixture.submit(&json!({ "content": star, "steps": 20 })).await;
    fixture.until(&drawn, |view| view.step == 20).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fixture.view(&drawn).await.state, State::Running, "{bad:?}");

    standing_in.abort();
    let _ = standing_in.await;
    fixture.start_store().await;
    for job in [drawn, comes] {
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
