//! What the fleet of one machine needs and nobody gave.

use crate::{DataFolder, Error, FolderServer, PrivateRedis};

/// Which services to start.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Whether a Redis is wanted.
    pub redis: bool,
    /// The web pages that browsers may let talk to the S3 service, for example `http://127.0.0.1:8080`; none if no S3
    /// service is wanted.
    pub s3_origins: Option<Vec<String>>,
}

/// The services of one machine. They end with this value.
pub struct Services {
    redis: Option<PrivateRedis>,
    s3: Option<FolderServer>,
}

impl Services {
    /// Starts what is wanted, with its data in `folder`.
    ///
    /// # Errors
    /// As [`PrivateRedis::start`] and [`FolderServer::start`]; [`Error::Damaged`], [`Error::Read`] or
    /// [`Error::Write`] for the files beside their data.
    pub async fn start(folder: &DataFolder, wanted: Wanted) -> Result<Self, Error> {
        let redis = match wanted.redis {
            true => Some(folder.start_redis().await?),
            false => None,
        };
        let s3 = match wanted.s3_origins {
            Some(origins) => Some(folder.start_s3(origins).await?),
            None => None,
        };
        Ok(Self { redis, s3 })
    }

    /// The Redis, if one was wanted.
    pub fn redis(&self) -> Option<&PrivateRedis> {
        self.redis.as_ref()
    }

    /// The S3 service, if one was wanted.
    pub fn s3(&self) -> Option<&FolderServer> {
        self.s3.as_ref()
    }

    /// Starts the Redis again whenever it ends by itself: it lost nothing. Returns when it has ended too often, and
    /// never if there is none.
    pub async fn supervise(&mut self) -> Error {
        match &mut self.redis {
            Some(redis) => redis.supervise().await,
            None => std::future::pending().await,
        }
    }

    /// Ends all in order.
    ///
    /// # Errors
    /// As [`PrivateRedis::stop`].
    pub async fn stop(self) -> Result<(), Error> {
        if let Some(s3) = self.s3 {
            s3.stop().await;
        }
        if let Some(redis) = self.redis {
            redis.stop().await?;
        }
        Ok(())
    }

    /// Ends the Redis at once. Every accepted write is on disk already, so nothing is lost.
    pub async fn kill(&mut self) {
        if let Some(redis) = &mut self.redis
            && let Err(error) = redis.kill().await
        {
            tracing::warn!(%error, "the private redis may still run");
        }
    }
}
