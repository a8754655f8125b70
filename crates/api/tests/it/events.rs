//! What happens to a job, told as it happens.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Response;
use serde_json::Value;

use crate::fixture::{Fixture, problem, until};

/// One server-sent event.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// Reads a stream of events until it ends.
pub(crate) async fn read(answer: Response) -> Vec<Sent> {
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = tokio::time::timeout(Duration::from_secs(20), answer.text()).await.unwrap().unwrap();
    text.split("\n\n").filter(|block| block.contains("event:")).map(parse).collect()
}

fn parse(block: &str) -> Sent {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {block}")).trim_start().to_owned()
    };
    Sent { id: field("id"), name: field("event"), data: serde_json::from_str(&field("data")).unwrap() }
}

pub(crate) fn names(events: &[Sent]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// Runs a job to its end while one client watches.
async fn watched(fixture: &Fixture) -> (String, Vec<Sent>) {
    let id = fixture.submit("a cat").await;
    let another = fixture.submit("a dog").await;
    let answer = fixture.get(&format!("/v1/jobs/{id}/events")).await;
    let reading = tokio::spawn(read(answer));
    let lease = fixture.claim().await;
    assert_eq!(lease.id.to_string(), id);
    // What happens to another job is none of this client's business.
    assert_eq!(fixture.claim().await.id.to_string(), another);
    lease.progress(1, 2).await.unwrap();
    lease.progress(2, 2).await.unwrap();
    fixture.complete(&lease).await;
    (id, reading.await.unwrap())
}

#[tokio::test]
async fn a_client_is_told_everything_in_order_and_then_let_go() {
    let fixture = Fixture::start().await;
    let (id, events) = watched(&fixture).await;
    assert_eq!(names(&events), ["snapshot", "started", "progress", "progress", "succeeded"]);
    assert_eq!(events[0].data["state"], "queued");
    assert_eq!((&events[2].data["step"], &events[2].data["of"]), (&1.into(), &2.into()));
    assert!(events.iter().all(|event| event.data["id"] == id.as_str()));
    let versions: Vec<u64> = events.iter().map(|event| event.data["version"].as_u64().unwrap()).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_hears_nothing_twice() {
    let fixture = Fixture::start().await;
    let (id, events) = watched(&fixture).await;
    let path = format!("/v1/jobs/{id}/events");
    let rest = read(fixture.get(&format!("{path}?after={}", events[1].id)).await).await;
    assert_eq!(names(&rest), ["progress", "progress", "succeeded"]);
    assert_eq!(rest[0].id, events[2].id);

    let header = fixture.client.get(fixture.url(&path)).header("last-event-id", &events[2].id);
    assert_eq!(names(&read(header.send().await.unwrap()).await), ["progress", "succeeded"]);

    // Nothing can follow: an EventSource that hears this stays away.
    let over = fixture.get(&format!("{path}?after={}", events[4].id)).await;
    assert_eq!(over.status(), 204);
}

#[tokio::test]
async fn history_out_of_reach_begins_with_a_snapshot() {
    let mut fixture = Fixture::start().await;
    let (id, _) = watched(&fixture).await;
    // A new process has not heard what happened before it.
    fixture.restart_api().await;
    for query in ["", "?after=1-0"] {
        let events = read(fixture.get(&format!("/v1/jobs/{id}/events{query}")).await).await;
        assert_eq!(names(&events), ["snapshot"]);
        assert_eq!(events[0].data["state"], "succeeded");
        assert!(events[0].data["output"]["url"].as_str().unwrap().contains("X-Amz-Signature"));
    }
    let bad = fixture.get(&format!("/v1/jobs/{id}/events?after=yesterday")).await;
    problem(bad, 400, "invalid_event_id").await;
    // A header beside it hides nothing.
    for header in ["", "1-0"] {
        let url = fixture.url(&format!("/v1/jobs/{id}/events?after=yesterday"));
        let bad = fixture.client.get(url).header("last-event-id", header).send().await.unwrap();
        problem(bad, 400, "invalid_event_id").await;
    }
}

#[tokio::test]
async fn a_stream_outlives_an_outage_of_redis() {
    let mut fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    let reading = tokio::spawn(read(fixture.get(&format!("/v1/jobs/{id}/events")).await));
    let lease = fixture.claim().await;
    fixture.redis.kill().await.unwrap();
    fixture.redis.restart().await.unwrap();
    until("the queue takes progress", async || lease.progress(1, 2).await.is_ok()).await;
    fixture.complete(&lease).await;
    let events = reading.await.unwrap();
    assert_eq!(names(&events), ["snapshot", "started", "progress", "succeeded"]);
}

#[tokio::test]
async fn a_job_counts_as_watched_as_long_as_a_client_follows_it() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    let lease = fixture.claim().await;
    let renewer = uso_queue::Renewer::start(&fixture.queue);
    let _keeper = renewer.keep(&lease);
    assert!(!lease.progress(1, 2).await.unwrap(), "no client follows it");
    let mut stream = fixture.get(&format!("/v1/jobs/{id}/events")).await.bytes_stream();
    let reading = tokio::spawn(async move { while stream.next().await.is_some() {} });
    // At once, and again when the queue has forgotten it.
    for _ in 0..2 {
        let watched = async {
            while !lease.progress(1, 2).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), watched).await.unwrap();
        assert!(fixture.forget_watchers(&id).await);
    }
    renewer.stop().await;
    fixture.complete(&lease).await;
    tokio::time::timeout(Duration::from_secs(5), reading)
        .await
        .expect("the stream ends with the job")
        .unwrap();
}

#[tokio::test]
async fn a_stop_ends_streams_and_then_the_server() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    let mut stream = fixture.get(&format!("/v1/jobs/{id}/events")).await.bytes_stream();
    assert!(stream.next().await.is_some());
    // A client that connects and sends nothing delays no other.
    let silent = tokio::net::TcpStream::connect(fixture.address()).await.unwrap();
    let mut all = fixture.get("/v1/events").await.bytes_stream();
    assert!(all.next().await.is_some());
    fixture.stop.cancel();
    for stream in [&mut stream as &mut (dyn futures::Stream<Item = _> + Unpin + Send), &mut all] {
        let mut last = String::new();
        let end = async {
            while let Some(chunk) = stream.next().await {
                last = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), end).await.unwrap();
        let retry: u64 = last.trim().strip_prefix("retry:").unwrap().trim().parse().unwrap();
        assert!((500..2500).contains(&retry), "{retry}");
    }
    tokio::time::timeout(Duration::from_secs(10), fixture.task).await.unwrap().unwrap().unwrap();
    drop(silent);
}

/// The next events of a stream that goes on.
async fn next(
    stream: &mut (impl futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    most: usize,
) -> Vec<Sent> {
    let mut text = String::new();
    let reading = async {
        while text.matches("\n\n").count() < most {
            let chunk = stream.next().await.expect("the stream goes on").unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    text.split("\n\n").filter(|block| block.contains("event:")).map(parse).collect()
}

#[tokio::test]
async fn one_stream_tells_of_all_jobs_of_a_tenant() {
    let fixture = Fixture::start().await;
    fixture.submit("a dog").await;
    let mut stream = fixture.get("/v1/events").await.bytes_stream();
    let first = next(&mut stream, 1).await;
    assert_eq!((names(&first), &first[0].data["queued"]), (vec!["snapshot"], &1.into()));
    let id = fixture.submit("a cat").await;
    let spec = uso_queue::JobSpec::parse(&serde_json::json!({}), &uso_queue::Defaults::default()).unwrap();
    fixture.queue.submit("another", &spec).await.unwrap();
    fixture.queue.cancel(&id.parse().unwrap()).await.unwrap();
    let told = next(&mut stream, 2).await;
    assert_eq!(names(&told), ["queued", "canceled"]);
    assert!(told.iter().all(|event| event.data["id"] == id.as_str()), "{told:?}");

    // A client that reconnects gets the rest, and from another process a snapshot.
    let after = format!("/v1/events?after={}", told[0].id);
    let mut stream = fixture.get(&after).await.bytes_stream();
    assert_eq!(names(&next(&mut stream, 1).await), ["canceled"]);
    let mut fixture = fixture;
    fixture.restart_api().await;
    let mut stream = fixture.get("/v1/events?after=1-0").await.bytes_stream();
    assert_eq!(names(&next(&mut stream, 1).await), ["snapshot"]);
}

#[tokio::test]
async fn previews_are_made_for_a_client_that_follows_all_jobs() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.get("/v1/events").await.bytes_stream();
    next(&mut stream, 1).await;
    fixture.submit("a cat").await;
    let lease = fixture.claim().await;
    let watched = async {
        while !lease.progress(1, 2).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), watched).await.unwrap();
}
