//! Redis over TLS, with a CA of its own and a user who may touch the queue's keys alone.

use std::path::PathBuf;

use uso_queue::{Config, Error, Queue, WorkerId};

use crate::fixture::{bulk, events, output};
use crate::server::{Server, free_port, until};

fn file(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name).display().to_string()
}

/// Settings of a server that takes TLS on a port.
fn settings(port: u16) -> Vec<String> {
    vec![
        format!("tls-port {port}"),
        "tls-auth-clients no".into(),
        format!("tls-cert-file {}", file("server.pem")),
        format!("tls-key-file {}", file("server.key")),
        format!("tls-ca-cert-file {}", file("ca.pem")),
    ]
}

async fn start(settings: &[String]) -> Server {
    Server::start(&settings.iter().map(String::as_str).collect::<Vec<_>>()).await
}

fn config(url: String) -> Config {
    Config { ca: Some(file("ca.pem").into()), ..Config::new(url) }
}

/// One job from submission to its end.
async fn one_job(queue: &Queue) {
    queue.migrate().await.unwrap();
    let mut tail = queue.tail(0, None).await.unwrap();
    let worker = WorkerId::new();
    let mut wakeups = queue.wakeups();
    let id = queue.submit("tenant", &bulk()).await.unwrap().id;
    wakeups.wait(std::time::Duration::from_secs(1)).await;
    let lease = queue.claim_one(&worker).await.unwrap().unwrap();
    assert_eq!(lease.id, id);
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(events(&mut tail, 3).await.len(), 3);
    queue.reap(&worker).await.unwrap();
    assert_eq!(queue.audit().await.unwrap().faults, []);
}

#[tokio::test]
async fn a_user_of_the_queues_keys_alone_works_over_tls() {
    let port = free_port();
    let server = start(&settings(port)).await;
    let rules = "ACL SETUSER fleet on >secret ~{uso:* +@all -@dangerous +info +config|get";
    server.ask::<()>(rules).await.unwrap();
    let queue = Queue::connect(config(format!("rediss://fleet:secret@127.0.0.1:{port}"))).await.unwrap();
    one_job(&queue).await;
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_refused() {
    let port = free_port();
    let _server = start(&settings(port)).await;
    let url = format!("rediss://fleet:secret@127.0.0.1:{port}");
    let Err(error) = Queue::connect(Config::new(&url)).await else { panic!("it was trusted") };
    let text = error.to_string();
    assert!(matches!(error, Error::Unreachable(_)) && text.contains("certificate"), "{text}");

    let Err(error) = Queue::connect(config(url)).await else { panic!("there is no such user") };
    let text = format!("{error} {error:?}");
    assert!(text.contains("authentication") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_cluster_may_speak_tls() {
    let (port, bus) = (free_port(), free_port());
    let mut settings = settings(port);
    settings.extend(["cluster-enabled yes".into(), format!("cluster-port {bus}"), "tls-cluster yes".into()]);
    let server = start(&settings).await;
    server.ask::<()>("CLUSTER ADDSLOTSRANGE 0 16383").await.unwrap();
    until("a cluster", async || (server.line("CLUSTER INFO", "cluster_state").await? == "ok").then_some(()))
        .await;
    let url = format!("rediss+cluster://localhost:{port}");
    let queue = Queue::connect(Config { shards: 3, ..config(url) }).await.unwrap();
    queue.migrate().await.unwrap();
    for tenant in ["a", "b", "c", "d", "e"] {
        queue.submit(tenant, &bulk()).await.unwrap();
    }
    assert_eq!(queue.stats().await.unwrap().bulk.queued, 5);
}

#[tokio::test]
async fn sentinels_may_speak_tls() {
    let port = free_port();
    let primary = start(&settings(port)).await;
    let sentinel_port = free_port();
    let mut lines = settings(sentinel_port);
    lines.extend(["tls-replication yes".into(), format!("sentinel monitor main 127.0.0.1 {port} 1")]);
    let _sentinel = Server::sentinel("", &lines).await;
    let url = format!("rediss+sentinel://127.0.0.1:{sentinel_port}/main");
    one_job(&Queue::connect(config(url)).await.unwrap()).await;
    assert_eq!(primary.ask::<String>("PING").await.unwrap(), "PONG");
}
