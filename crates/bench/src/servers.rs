//! The servers that are measured, started for one run: a Redis and an S3 service.

use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use uso_local::{FolderConfig, FolderServer, PrivateRedis, S3Keys};
use uso_store::{Credentials, Store};

use crate::cores::Cores;
use crate::resp::Resp;

/// Keys of the S3 service.
pub(crate) const ACCESS_KEY: &str = "bench";
pub(crate) const SECRET_KEY: &str = "not-a-secret";

/// Longest wait for Redis to write its files anew.
const REWRITE: Duration = Duration::from_secs(60);

/// A Redis with an append-only file that is synced every second.
pub(crate) struct RedisServer {
    redis: PrivateRedis,
    _folder: TempDir,
}

impl RedisServer {
    pub(crate) async fn start(cores: Cores) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for redis")?;
        let redis = PrivateRedis::start(folder.path(), None).await?;
        let pid = redis.pid().context("redis has ended")?;
        cores.keep_server(pid).await?;
        let server = Self { redis, _folder: folder };
        let mut resp = server.resp()?;
        resp.call(&["CONFIG", "SET", "appendfsync", "everysec"])?;
        // Left to itself it would be in the middle of some run, and not of others.
        resp.call(&["CONFIG", "SET", "auto-aof-rewrite-percentage", "0"])?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        self.redis.url()
    }

    pub(crate) fn resp(&self) -> anyhow::Result<Resp> {
        Resp::connect(&self.url())
    }

    /// Forgets everything, on disk too.
    pub(crate) async fn empty(&self) -> anyhow::Result<()> {
        let mut resp = self.resp()?;
        resp.call(&["FLUSHALL", "SYNC"])?;
        resp.call(&["BGREWRITEAOF"])?;
        let done = async {
            while resp.info::<u8>("persistence", "aof_rewrite_in_progress")? == 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(REWRITE, done).await.context("redis does not write its file anew")?
    }

    /// Bytes of data.
    pub(crate) fn used_memory(&self) -> anyhow::Result<u64> {
        self.resp()?.info("memory", "used_memory")
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.redis.kill().await?)
    }

    /// Starts it again with what it has on disk.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        Ok(self.redis.restart().await?)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        Ok(self.redis.stop().await?)
    }
}

/// An S3 service on a folder.
pub(crate) struct S3Server {
    folder: FolderServer,
    _data: TempDir,
}

impl S3Server {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir().context("cannot make a folder for S3")?;
        let folder = FolderServer::start(FolderConfig {
            root: data.path().join("s3"),
            port: None,
            keys: S3Keys { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into() },
            origins: Vec::new(),
        })
        .await?;
        Ok(Self { folder, _data: data })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.folder.endpoint()
    }

    pub(crate) async fn stop(self) {
        self.folder.stop().await;
    }
}

/// A store at an S3 service that takes these keys.
pub(crate) async fn store(endpoint: &str) -> anyhow::Result<Store> {
    let (endpoint, credentials) = (Some(endpoint.to_owned()), Some(credentials()));
    Ok(Store::connect(uso_store::Config { endpoint, credentials, ..uso_store::Config::default() }).await?)
}

fn credentials() -> Credentials {
    Credentials { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into() }
}
