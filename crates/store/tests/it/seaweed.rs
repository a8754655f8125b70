//! The same suite against SeaweedFS, another make of S3.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::conformance::conforms;

#[tokio::test]
#[ignore = "needs SeaweedFS: ops/test.sh installs it and runs this test"]
async fn seaweed_conforms() {
    let weed = std::env::var_os("USO_TEST_WEED").expect("USO_TEST_WEED must name the program `weed`");
    let data = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let mut server = start(Path::new(&weed), data.path(), &ports);
    let endpoint = format!("http://127.0.0.1:{}", ports[0]);
    ready(&mut server, &endpoint, data.path()).await;
    conforms(endpoint).await;
    server.kill().await.unwrap();
}

/// Ports of S3, master, volume and filer, each followed by its own for gRPC.
fn free_ports() -> Vec<u16> {
    let listeners: Vec<_> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn start(weed: &Path, data: &Path, ports: &[u16]) -> Child {
    let identity = serde_json::json!({ "identities": [{
        "name": "fleet",
        "credentials": [{ "accessKey": "fleet", "secretKey": "not-a-secret" }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    std::fs::write(data.join("s3.json"), identity.to_string()).unwrap();
    let log = std::fs::File::create(data.join("log")).unwrap();
    Command::new(weed)
        .current_dir(data)
        .args(["server", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
        .args(["-s3.config=s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-s3.port={}", ports[0]))
        .arg(format!("-s3.port.grpc={}", ports[1]))
        .arg(format!("-master.port={}", ports[2]))
        .arg(format!("-master.port.grpc={}", ports[3]))
        .arg(format!("-volume.port={}", ports[4]))
        .arg(format!("-volume.port.grpc={}", ports[5]))
        .arg(format!("-filer.port={}", ports[6]))
        .arg(format!("-filer.port.grpc={}", ports[7]))
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A server that should start and does not is a failure, with its last words.
async fn ready(server: &mut Child, endpoint: &str, data: &Path) {
    for _ in 0..600 {
        if reqwest::get(format!("{endpoint}/healthz")).await.is_ok() && writable(endpoint).await {
            return;
        }
        if let Some(status) = server.try_wait().unwrap() {
            panic!("SeaweedFS ended with {status}: {}", last_words(data));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("SeaweedFS does not answer: {}", last_words(data));
}

/// Its S3 side answers before its volumes can take data.
async fn writable(endpoint: &str) -> bool {
    let config = uso_store::Config { bucket: "probe".into(), ..crate::fixture::config(endpoint.to_owned()) };
    let store = uso_store::Store::connect(config).await.unwrap();
    store.ensure_bucket().await.is_ok() && store.put("probe", "text/plain", "x".into()).await.is_ok()
}

fn last_words(data: &Path) -> String {
    let log = std::fs::read_to_string(data.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
