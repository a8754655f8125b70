//! The folder in which the services of one machine keep everything.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::private::create_folder;
use crate::{Error, FolderConfig, FolderServer, PrivateRedis, S3Keys};

/// A folder that this process alone uses, for as long as this value lives: `redis/` with the queue's data, `s3/` with
/// the pictures, `s3-keys.json`, `s3-port` and `lock`.
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if it is missing, and takes it.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it, [`Error::DataFolder`] if it cannot be used.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let refused = |source| Error::DataFolder { path: path.to_owned(), source };
        create_folder(path).map_err(refused)?;
        let lock = File::create(path.join("lock")).map_err(refused)?;
        lock.try_lock().map_err(|source| Error::InUse { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Starts a Redis in the folder that asks for a password.
    pub(crate) async fn start_redis(&self) -> Result<PrivateRedis, Error> {
        PrivateRedis::start_with_password(&self.path.join("redis"), None).await
    }

    /// Starts an S3 service in the folder, for these web pages too.
    pub(crate) async fn start_s3(&self, origins: Vec<String>) -> Result<FolderServer, Error> {
        let keys = S3Keys::kept_in(&self.path.join("s3-keys.json"))?;
        let root = self.path.join("s3");
        let config =
            |port| FolderConfig { root: root.clone(), port, keys: keys.clone(), origins: origins.clone() };
        // The same port as the last time: pages that are open and links that were given out go on working.
        let port_file = self.path.join("s3-port");
        let last = std::fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok());
        let server = match FolderServer::start(config(last)).await {
            // Somebody else has it now.
            Err(Error::Listen { .. }) if last.is_some() => FolderServer::start(config(None)).await?,
            started => started?,
        };
        std::fs::write(&port_file, server.port().to_string())
            .map_err(|source| Error::Write { path: port_file, source })?;
        Ok(server)
    }
}
