//! Servers and pictures for the tests.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uso_local::{FolderConfig, FolderServer, S3Keys};
use uso_store::{Config, Credentials, Store};

/// A PNG's first bytes: enough for the store, which leaves the rest to the decoder.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and more";

pub(crate) fn keys() -> Credentials {
    Credentials { access_key: "fleet".into(), secret_key: "not-a-secret".into() }
}

pub(crate) fn config(endpoint: String) -> Config {
    Config {
        endpoint: Some(endpoint),
        credentials: Some(keys()),
        timeout: Duration::from_secs(10),
        ..Config::default()
    }
}

/// An S3 server over a folder that is gone after the test.
pub(crate) struct Folder {
    pub(crate) server: FolderServer,
    pub(crate) data: TempDir,
}

/// What a folder is served with.
pub(crate) fn folder_config(data: &TempDir) -> FolderConfig {
    let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
    FolderConfig { root: data.path().join("s3"), port: None, keys, origins: Vec::new() }
}

impl Folder {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { server: FolderServer::start(folder_config(&data)).await.unwrap(), data }
    }

    /// A store on it whose bucket is there.
    pub(crate) async fn store(&self) -> Store {
        let store = Store::connect(config(self.server.endpoint())).await.unwrap();
        store.ensure_bucket().await.unwrap();
        store
    }
}

/// A server that answers every request with `head`, then what `body` gives, then waits `pause` with
/// the connection open.
pub(crate) async fn scripted(head: String, body: Vec<u8>, pause: Duration) -> Store {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (head, body) = (head.clone(), body.clone());
            tokio::spawn(async move {
                let mut request = [0; 8192];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&body).await;
                tokio::time::sleep(pause).await;
            });
        }
    });
    let config = Config { max_bytes: 1000, timeout: Duration::from_secs(3), ..config(endpoint) };
    Store::connect(config).await.unwrap()
}
