//! References that cannot be used: the job fails with the field's name, and the worker goes on.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uso_engine::{DecodeLimits, Image};
use uso_queue::{Failure, State};

use crate::fixture::Fixture;

#[tokio::test]
async fn each_bad_reference_is_named_and_the_worker_goes_on() {
    let fixture = Fixture::start().await;
    let star = fixture.example("content_star.png").await;
    let torn = std::fs::read("../engine/assets/mini/examples/content_star.png").unwrap();
    fixture.store.put("text", "image/png", "hello".into()).await.unwrap();
    fixture.store.put("torn", "image/png", torn[..torn.len() / 2].to_vec().into()).await.unwrap();
    let upload = "0198a0b0-0000-7000-8000-00000000000a";
    fixture.store.put(&format!("uploads/tenant/{upload}"), "image/png", torn.clone().into()).await.unwrap();
    let worker = fixture.worker().await;

    let cases = [
        (
            json!({ "styles": [format!("upload:{upload}@another")] }),
            "reference_changed",
            "styles/0: s3://uso/uploads/tenant/0198a0b0-0000-7000-8000-00000000000a is no longer the file",
        ),
        (json!({ "content": "s3://uso/none.png" }), "reference_missing", "content: there is no object"),
        (
            json!({ "styles": [star, "s3://uso/text"] }),
            "reference_not_an_image",
            "styles/1: s3://uso/text is not",
        ),
        (json!({ "content": "s3://uso/torn" }), "reference_not_usable", "content: image: "),
        (
            json!({ "content": "s3://other/a.png" }),
            "reference_not_allowed",
            "content: references may not come from bucket s3://other",
        ),
    ];
    for (body, code, message) in cases {
        let job = fixture.submit(&body).await;
        let view = fixture.ended(&job).await;
        assert_eq!(view.state, State::Failed);
        assert_eq!(view.attempt, 1, "a submitter's mistake was tried again");
        let Failure { code: found, message: said, .. } = view.error.unwrap();
        assert_eq!(found, code);
        assert!(said.starts_with(message), "{said}");
    }

    let job = fixture.submit(&json!({ "content": star, "steps": 1, "prompt": "a star" })).await;
    assert_eq!(fixture.ended(&job).await.state, State::Succeeded);
    worker.stop.cancel();
    worker.task.await.unwrap().unwrap();
}

/// A server that has one picture.
async fn somebodys_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let star = std::fs::read("../engine/assets/mini/examples/content_star.png").unwrap();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let found = request[..length].starts_with(b"GET /star.png");
            let head = if found { "HTTP/1.1 200 OK" } else { "HTTP/1.1 404 Not Found" };
            stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
            stream.write_all(if found { &star } else { b"" }).await.unwrap();
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_reference_from_the_web_makes_what_the_same_file_makes_from_the_store() {
    let fixture = Fixture::start().await;
    let star = fixture.example("content_star.png").await;
    let server = somebodys_server().await;
    let worker = fixture.worker().await;
    let mut pictures = Vec::new();
    for content in [star, format!("{server}/star.png?token=secret")] {
        let body = json!({ "content": content, "steps": 2, "seed": 7, "prompt": "a star" });
        let view = fixture.ended(&fixture.submit(&body).await).await;
        assert_eq!(view.state, State::Succeeded);
        let key = |uri: &str| uri.strip_prefix("s3://uso/").unwrap().to_owned();
        let output = view.output.unwrap();
        let picture = fixture.store.get(&key(&output.uri)).await.unwrap();
        let sidecar = fixture.store.get(&key(&output.sidecar)).await.unwrap();
        for file in [&picture, &sidecar] {
            assert!(!file.windows(6).any(|part| part == b"secret"), "a token is written down");
        }
        pictures.push(Image::decode(&picture, &DecodeLimits::default()).unwrap().rgb);
    }
    assert_eq!(pictures[0], pictures[1]);
    let missing = json!({ "styles": [format!("{server}/none.png")] });
    let view = fixture.ended(&fixture.submit(&missing).await).await;
    assert_eq!((view.attempt, view.error.unwrap().code), (1, "reference_missing".to_owned()));
    worker.stop().await;
}

/// A server whose answers wait until they are let go.
async fn slow_server(go: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let go = go.clone();
            tokio::spawn(async move {
                let star = std::fs::read("../engine/assets/mini/examples/content_star.png").unwrap();
                go.cancelled().await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
                stream.write_all(&star).await.unwrap();
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn slow_references_of_one_tenant_hold_up_no_other() {
    let fixture = Fixture::start().await;
    let go = CancellationToken::new();
    let server = slow_server(go.clone()).await;
    let body = json!({ "content": format!("{server}/star.png"), "class": "bulk", "steps": 2 });
    let mut slow = Vec::new();
    for _ in 0..6 {
        slow.push(fixture.submit_as("slow", &body).await);
    }
    let worker = fixture.scripted("step=1ms").await;
    let running = async || {
        let mut running = 0;
        for job in &slow {
            running += usize::from(fixture.view(job).await.state == State::Running);
        }
        running
    };
    let shared = async {
        while running().await < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), shared).await.expect("they hold slots");
    let other = fixture.submit_as("other", &json!({ "class": "bulk", "steps": 2 })).await;
    assert_eq!(fixture.ended(&other).await.state, State::Succeeded);
    assert!(running().await <= 4, "one tenant has more than a share");
    for job in &slow {
        assert!(!fixture.view(job).await.state.is_terminal());
    }
    go.cancel();
    for job in &slow {
        assert_eq!(fixture.ended(job).await.state, State::Succeeded);
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_store_that_is_away_costs_no_attempt_and_no_job() {
    let mut fixture = Fixture::start().await;
    let star = fixture.example("content_star.png").await;
    fixture.stop_store().await;
    let jobs = [fixture.submit(&json!({ "content": star })).await, fixture.submit(&json!({})).await];
    let worker = fixture.scripted("step=1ms").await;
    let waits = async {
        let says = async || fixture.queue.workers().await.unwrap().pop().map(|(_, _, report)| report.state);
        while says().await != Some(uso_queue::WorkerState::WaitingForStore) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waits).await.expect("it does not wait");
    for job in &jobs {
        assert_eq!(fixture.view(job).await.version, 1, "it was claimed in vain");
    }
    fixture.start_store().await;
    for job in jobs {
        let view = fixture.ended(&job).await;
        assert_eq!((view.state, view.attempt), (State::Succeeded, 1));
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_finished_picture_waits_for_the_store() {
    let mut fixture = Fixture::start().await;
    let job = fixture.submit(&json!({ "steps": 20 })).await;
    let worker = fixture.scripted("step=20ms").await;
    fixture.until(&job, |view| view.step > 0).await;
    fixture.stop_store().await;
    let sampled = fixture.until(&job, |view| view.step == 20).await;
    crate::store::until_it_is(&fixture, uso_queue::WorkerState::WaitingForStore).await;
    assert_eq!(fixture.view(&job).await.version, sampled.version);
    fixture.start_store().await;
    let view = fixture.ended(&job).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1));
    worker.stop().await;
}
