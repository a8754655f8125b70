//! What connections may do before and beside their requests.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uso_api::{Access, Config};
use uso_queue::KeyScope::{Read, Submit};

use crate::fixture::{Fixture, problem};

async fn connect(fixture: &Fixture, begin: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    stream.write_all(begin).await.unwrap();
    stream
}

/// Waits until the other side closes a connection.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 16];
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read(&mut bytes)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn the_wait_for_a_protocol_ends_with_the_peer() {
    let fixture = Fixture::start().await;
    for begin in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut stream = connect(&fixture, begin).await;
        stream.shutdown().await.unwrap();
        assert!(closed(&mut stream).await, "it waits for more than {begin:?}");
    }
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let fixture = Fixture::start().await;
    let mut stream = connect(&fixture, b"").await;
    stream.set_nodelay(true).unwrap();
    for byte in b"POST /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 405 "), "{text}");
}

#[tokio::test]
async fn connections_without_a_request_are_closed_for_those_with_one() {
    let fixture = Fixture::start_as(Config { max_connections: Some(8), ..Config::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(connect(&fixture, b"P").await);
        idle.push(connect(&fixture, b"GET /healthz HTTP/1.1\r\nx: ").await);
    }
    for _ in 0..20 {
        let client = reqwest::Client::new();
        assert_eq!(client.get(fixture.url("/healthz")).send().await.unwrap().status(), 200);
    }
    for stream in &mut idle[..90] {
        assert!(closed(stream).await);
    }
}

#[tokio::test]
async fn connections_that_are_used_are_not_ended_for_others() {
    let fixture = Fixture::start_as(Config { max_connections: Some(4), ..Config::default() }).await;
    // Over no connection of a client's.
    let spec = uso_queue::JobSpec::parse(&json!({}), &uso_queue::Defaults::default()).unwrap();
    let id = fixture.queue.submit("default", &spec).await.unwrap().id;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let request = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: {}\r\n\r\n", fixture.address());
        let mut stream = connect(&fixture, request.as_bytes()).await;
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 200");
        streams.push(stream);
    }
    // The fifth waits until one of them is gone.
    let url = fixture.url("/healthz");
    let waiting = tokio::spawn(async move { reqwest::Client::new().get(url).send().await.unwrap().status() });
    fixture.queue.cancel(&id).await.unwrap();
    for stream in &mut streams {
        let mut text = Vec::new();
        let read = async {
            let mut part = [0; 1024];
            while !String::from_utf8_lossy(&text).contains("canceled") {
                let length = stream.read(&mut part).await.unwrap();
                assert!(length > 0, "a stream was cut off");
                text.extend_from_slice(&part[..length]);
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), read).await.unwrap();
    }
    drop(streams);
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused() {
    let fixture = Fixture::start().await;
    for (hosts, status) in [("host: localhost\r\n", 200), ("host: localhost\r\nhost: localhost\r\n", 400)] {
        let request = format!("GET /v1/capabilities HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let mut stream = connect(&fixture, request.as_bytes()).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert_eq!(text.contains("two_hosts"), status == 400, "{text}");
    }
}

#[tokio::test]
async fn no_answer_is_taken_for_what_it_is_not() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    for path in ["/v1/capabilities", &format!("/v1/jobs/{id}"), "/nothing", "/", "/healthz", "/openapi.json"]
    {
        let answer = fixture.get(path).await;
        let found: Vec<_> = answer.headers().get_all("x-content-type-options").iter().collect();
        assert_eq!(found, ["nosniff"], "{path}");
    }
}

#[tokio::test]
async fn a_key_that_may_not_read_is_shown_no_picture() {
    let fixture = Fixture::start_as(Config { access: Access::Keys, ..Config::default() }).await;
    let submits = fixture.key("ours", &[Submit]).await.expose();
    let reads = fixture.key("ours", &[Submit, Read]).await.expose();
    let send = async |path: &str, key: &str| {
        let request = fixture.client.post(fixture.url(path)).bearer_auth(key).header("prefer", "wait=60");
        request.header("idempotency-key", "k").json(&json!({ "steps": 2 })).send().await.unwrap()
    };
    let works = async {
        loop {
            if let Some(lease) = fixture.queue.claim_one(&uso_queue::WorkerId::new()).await.unwrap() {
                fixture.complete(&lease).await;
                return;
            }
        }
    };
    let (ended, ()) = tokio::join!(send("/v1/jobs", &submits), works);
    assert_eq!(ended.status(), 200);
    let ended: serde_json::Value = ended.json().await.unwrap();
    assert_eq!((&ended["state"], &ended["output"]), (&json!("succeeded"), &json!(null)));
    let id = ended["id"].as_str().unwrap();
    let whole: serde_json::Value = send("/v1/jobs", &reads).await.json().await.unwrap();
    assert!(whole["output"]["url"].is_string(), "{whole}");
    // In Replicate's API, canceling answers with how it ended.
    let canceled = async |key: &str| -> serde_json::Value {
        send(&format!("/v1/predictions/{id}/cancel"), key).await.json().await.unwrap()
    };
    assert_eq!(canceled(&submits).await["output"], json!(null));
    assert!(canceled(&reads).await["output"][0].is_string());
    problem(send(&format!("/v1/jobs/{id}/cancel"), &submits).await, 409, "already_ended").await;
}
