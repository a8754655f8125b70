//! The Redis that all sides are measured on.

use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use uso_local::PrivateRedis;

use super::cores::Cores;
use super::resp::Resp;

/// Longest wait for Redis to write its files anew.
const REWRITE: Duration = Duration::from_secs(60);

/// A server of our own with an append-only file that is synced every second.
pub(super) struct Server {
    redis: PrivateRedis,
    _folder: TempDir,
}

impl Server {
    pub(super) async fn start(cores: Cores) -> anyhow::Result<Self> {
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

    pub(super) fn url(&self) -> String {
        self.redis.url()
    }

    pub(super) fn resp(&self) -> anyhow::Result<Resp> {
        Resp::connect(&self.url())
    }

    /// Forgets everything, on disk too.
    pub(super) async fn empty(&self) -> anyhow::Result<()> {
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
    pub(super) fn used_memory(&self) -> anyhow::Result<u64> {
        self.resp()?.info("memory", "used_memory")
    }

    /// Ends it as a power cut would.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.redis.kill().await?)
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        Ok(self.redis.stop().await?)
    }
}
