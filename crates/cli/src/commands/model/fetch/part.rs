//! A download in progress: `NAME.part` beside the final place. It gets its final name once it is complete and correct.

use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use indicatif::ProgressBar;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::digest::Hasher;
use super::hub::Remote;

pub(super) struct Part<'a> {
    remote: &'a Remote,
    path: PathBuf,
    file: File,
    written: u64,
    hasher: Hasher,
}

/// Where a file is until it is complete.
pub(super) fn path(place: &Path) -> PathBuf {
    let mut path = place.as_os_str().to_owned();
    path.push(".part");
    path.into()
}

impl<'a> Part<'a> {
    /// Opens and locks the file, and resumes from what an earlier run has left.
    pub(super) async fn open(place: &Path, remote: &'a Remote, bar: &ProgressBar) -> anyhow::Result<Self> {
        let path = path(place);
        let refused = || format!("cannot write {}", path.display());
        let file = lock(&path).with_context(refused)?;
        let mut part = Self {
            remote,
            file,
            written: 0,
            hasher: Hasher::new(&remote.digest, remote.bytes),
            path: path.clone(),
        };
        part.resume(bar).await.with_context(refused)?;
        Ok(part)
    }

    async fn resume(&mut self, bar: &ProgressBar) -> io::Result<()> {
        if self.file.metadata().await?.len() > self.remote.bytes {
            return self.restart().await;
        }
        let Self { hasher, file, written, .. } = self;
        let read = |bytes| {
            *written += bytes;
            bar.set_position(*written);
        };
        hasher.read(file, read).await
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Deletes all bytes and starts again.
    pub(super) async fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0).await?;
        self.file.rewind().await?;
        self.hasher = Hasher::new(&self.remote.digest, self.remote.bytes);
        self.written = 0;
        Ok(())
    }

    pub(super) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Hands all bytes to the operating system, which keeps them if this process dies.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.file.flush().await
    }

    /// Moves the file into its place if its digest is the expected one.
    pub(super) async fn finish(mut self, place: &Path) -> anyhow::Result<()> {
        self.flush().await?;
        // Before the rename, so that a power cut leaves no complete-looking file with holes.
        self.file.sync_all().await?;
        let (expected, found) = (&self.remote.digest, self.hasher.finish());
        if found != *expected {
            return Err(discard(&self.path, &format!("the file has {found}, {expected} is expected")).await);
        }
        tokio::fs::rename(&self.path, place)
            .await
            .with_context(|| format!("cannot write {}", place.display()))
    }

    /// Removes a file that is wrong; gives the reason as an error.
    pub(super) async fn refuse(&self, why: &str) -> anyhow::Error {
        discard(&self.path, why).await
    }
}

async fn discard(path: &Path, why: &str) -> anyhow::Error {
    match tokio::fs::remove_file(path).await {
        Ok(()) => anyhow!("{why}; {} is removed", path.display()),
        Err(error) => anyhow!("{why}; cannot remove {}: {error}", path.display()),
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!("another process is writing it"),
        // On file systems without locks, a second writer is found out by the digest.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(File::from_std(file)),
    }
}
