//! One file: kept if it is right, resumed if a part of it is there, checked before it gets its name.

use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use indicatif::ProgressBar;
use reqwest::{Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::listing::{Listing, RemoteFile};
use crate::client::Client;
use crate::patience::{Failure, Patience};

/// Bytes that are read and hashed at once.
const CHUNK: usize = 1 << 20;

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It was downloaded: so many bytes, of which an earlier run may have brought some.
    New(u64),
    /// It was there, and is right.
    WasThere,
}

/// Downloads a file into a folder, unless it is there.
pub(super) async fn fetch(
    client: &Client,
    listing: &Listing,
    file: &RemoteFile,
    dir: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<Fetched> {
    let place = dir.join(&file.name);
    if is_right(&place, file).await.with_context(|| format!("cannot read {}", place.display()))? {
        bar.inc(file.bytes);
        return Ok(Fetched::WasThere);
    }
    let mut part =
        Part::open(&place, file).await.with_context(|| format!("cannot write {}", place.display()))?;
    bar.inc(part.written);
    let (mut patience, mut url, mut reached) = (Patience::default(), file.url.clone(), part.written);
    let mut is_again = false;
    loop {
        match receive(client, &url, file, &mut part, bar).await {
            // What an earlier run has left may be damaged.
            Ok(()) if !is_again && !part.is_right(file) => {
                tracing::warn!(file = file.name, "its sha256 is not the recorded one; it is fetched again");
                bar.dec(part.written);
                part.restart().await.with_context(|| format!("cannot write {}", place.display()))?;
                (is_again, reached) = (true, 0);
            }
            Ok(()) => break,
            Err(failure) => {
                if part.written > reached {
                    reached = part.written;
                    patience.renew();
                }
                patience.wait(failure).await.with_context(|| file.name.clone())?;
                // The link may have expired.
                url = listing.link(client, &file.name).await?;
            }
        }
    }
    part.finish(&place, file).await.with_context(|| file.name.clone()).map(Fetched::New)
}

/// Whether the file is there with the right size and digest. A file without a digest may have been written anew.
pub(super) async fn is_right(place: &Path, file: &RemoteFile) -> io::Result<bool> {
    let Some(sha256) = &file.sha256 else { return Ok(false) };
    let mut found = match File::open(place).await {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if found.metadata().await?.len() != file.bytes {
        return Ok(false);
    }
    let mut hasher = Sha256::new();
    read(&mut found, &mut hasher).await?;
    Ok(hex::encode(hasher.finalize()) == *sha256)
}

/// Reads a file to its end; gives how many bytes there were.
async fn read(file: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let (mut chunk, mut bytes) = (vec![0; CHUNK], 0);
    loop {
        let length = file.read(&mut chunk).await?;
        if length == 0 {
            return Ok(bytes);
        }
        hasher.update(&chunk[..length]);
        bytes += length as u64;
    }
}

/// Reads what one connection sends.
async fn receive(
    client: &Client,
    url: &str,
    file: &RemoteFile,
    part: &mut Part,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    if file.sha256.is_some() && part.written == file.bytes {
        return Ok(());
    }
    let request = client.link(url);
    let request = match part.written {
        0 => request,
        from => request.header(header::RANGE, format!("bytes={from}-")),
    };
    let mut answer = accept(request.send().await?)?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        part.restart().await?;
    }
    while let Some(chunk) = answer.chunk().await? {
        part.append(&chunk).await?;
        bar.inc(chunk.len() as u64);
        if file.sha256.is_some() && part.written > file.bytes {
            part.restart().await?;
            return Err(anyhow!("the server sent more than the {} bytes that it has", file.bytes).into());
        }
    }
    if file.sha256.is_some() && part.written < file.bytes {
        let why = format!("the connection ended after {} of {} bytes", part.written, file.bytes);
        return Err(Failure::passing(anyhow!(why)));
    }
    Ok(())
}

/// A link that has expired is refused with 403 or 400, and then there is another one.
fn accept(answer: Response) -> Result<Response, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let error = anyhow!("the store answered {status}");
    let may_pass = status.is_server_error()
        || matches!(
            status,
            StatusCode::FORBIDDEN
                | StatusCode::BAD_REQUEST
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        );
    Err(if may_pass { Failure::passing(error) } else { error.into() })
}

/// A file that is not complete: `NAME.part` beside its place.
struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
}

impl Part {
    /// Opens and locks it. What an earlier run has left stays if the file's digest is known, for then it can be checked.
    async fn open(place: &Path, file: &RemoteFile) -> anyhow::Result<Self> {
        if let Some(folder) = place.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let mut path = place.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if let Err(TryLockError::WouldBlock) = opened.try_lock() {
            bail!("another process is writing it");
        }
        let mut part = Self { path, file: File::from_std(opened), hasher: Sha256::new(), written: 0 };
        part.written = read(&mut part.file, &mut part.hasher).await?;
        if file.sha256.is_none() || part.written > file.bytes {
            part.restart().await?;
        }
        Ok(part)
    }

    async fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0).await?;
        self.file.rewind().await?;
        (self.hasher, self.written) = (Sha256::new(), 0);
        Ok(())
    }

    async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Whether what was written has the file's digest, if that is known.
    fn is_right(&self, file: &RemoteFile) -> bool {
        let found = || hex::encode(self.hasher.clone().finalize());
        file.sha256.as_ref().is_none_or(|sha256| *sha256 == found())
    }

    /// Moves it into its place if its digest is the right one; gives its size.
    async fn finish(mut self, place: &Path, file: &RemoteFile) -> anyhow::Result<u64> {
        self.file.flush().await?;
        // Before the rename, so that a power cut leaves no complete-looking file with holes.
        self.file.sync_all().await?;
        if !self.is_right(file) {
            tokio::fs::remove_file(&self.path).await?;
            bail!("its sha256 is not the recorded one; it is removed");
        }
        tokio::fs::rename(&self.path, place).await?;
        Ok(self.written)
    }
}
