//! Where a data set lies: in the object store, or in a folder.

use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use uso_queue::BatchId;
use uso_store::{ObjectInfo, Store};

use crate::{Error, file, layout};

/// Bytes that are read from the store in one call.
const CHUNK: u64 = 8 << 20;
/// Tries at a chunk that breaks off.
const TRIES: u32 = 3;
/// Largest file that is read as a whole, in bytes: row files, segments, indexes.
const LARGEST: u64 = 512 << 20;

/// Where a data set lies.
#[derive(Clone)]
pub enum Place {
    /// In the object store.
    Store {
        /// The store.
        store: Store,
        /// What its keys begin with.
        prefix: String,
    },
    /// In a folder, as it was downloaded.
    Folder(PathBuf),
}

impl Place {
    /// Where a batch's data set lies in the store.
    pub fn of_batch(store: Store, batch: &BatchId) -> Self {
        Self::Store { store, prefix: layout::dataset(batch) }
    }

    /// Names of all files, each with its size in bytes.
    pub(super) async fn list(&self) -> Result<Vec<(String, u64)>, Error> {
        match self {
            Self::Store { store, prefix } => {
                let listed = store.list(prefix).await?.into_iter();
                Ok(listed.map(|object| (object.key[prefix.len()..].to_owned(), object.bytes)).collect())
            }
            Self::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || list_folder(&folder)).await?
            }
        }
    }

    /// The whole of a file that is not large; none if it is not there.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Store { store, prefix } => read_object(store, &format!("{prefix}{name}")).await,
            Self::Folder(folder) => {
                let path = folder.join(name);
                let refused = path.display().to_string();
                match blocking(move || file::read(&path, LARGEST)).await? {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(Error::File { path: refused, source }),
                }
            }
        }
    }

    /// Lets `work` read a file of any size on a thread where it may block. It may stop early.
    pub(super) async fn stream<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&mut dyn Read) -> T + Send + 'static,
    ) -> Result<T, Error> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let refused = path.display().to_string();
                let read = move || -> io::Result<T> {
                    let file = file::open(&path)?;
                    Ok(work(&mut io::BufReader::with_capacity(1 << 20, file)))
                };
                blocking(read).await?.map_err(|source| Error::File { path: refused, source })
            }
            Self::Store { store, prefix } => {
                let (sender, receiver) = mpsc::channel(2);
                let key = format!("{prefix}{name}");
                let work = blocking(move || work(&mut Chunks { receiver, current: Bytes::new() }));
                let (fed, worked) = tokio::join!(feed(store, &key, sender), work);
                // What was read is not all if the store broke off.
                fed?;
                worked
            }
        }
    }
}

/// The whole of an object that is not large; none if it is not there.
pub(super) async fn read_object(store: &Store, key: &str) -> Result<Option<Bytes>, Error> {
    let Some(info) = store.head(key).await? else { return Ok(None) };
    if info.bytes > LARGEST {
        let reason = format!("it has {} bytes, more than {LARGEST}", info.bytes);
        return Err(Error::Unreadable { object: key.to_owned(), reason });
    }
    let mut bytes = BytesMut::with_capacity(info.bytes as usize);
    for range in ranges(info.bytes) {
        bytes.extend_from_slice(&read_range(store, key, &info, range).await?);
    }
    Ok(Some(bytes.freeze()))
}

/// Sends an object chunk by chunk, for as long as somebody takes them.
async fn feed(store: &Store, key: &str, sender: mpsc::Sender<Bytes>) -> Result<(), Error> {
    let missing = || Error::Unreadable { object: key.to_owned(), reason: "it is not there".into() };
    let info = store.head(key).await?.ok_or_else(missing)?;
    for range in ranges(info.bytes) {
        let chunk = read_range(store, key, &info, range).await?;
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn ranges(bytes: u64) -> impl Iterator<Item = Range<u64>> {
    (0..bytes.div_ceil(CHUNK)).map(move |chunk| chunk * CHUNK..bytes.min((chunk + 1) * CHUNK))
}

async fn read_range(store: &Store, key: &str, info: &ObjectInfo, range: Range<u64>) -> Result<Bytes, Error> {
    let mut tries = 1;
    loop {
        match store.read_range(key, info, range.clone()).await {
            Err(error) if error.retryable() && tries < TRIES => tries += 1,
            answer => return Ok(answer?),
        }
    }
}

/// Chunks that come from the store, as a file.
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let size = self.current.len().min(into.len());
        self.current.copy_to_slice(&mut into[..size]);
        Ok(size)
    }
}

/// Runs what blocks away from the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))
}

/// Files of a folder and of the folders right in it.
fn list_folder(folder: &std::path::Path) -> Result<Vec<(String, u64)>, Error> {
    let failed = |path: &std::path::Path, source| Error::File { path: path.display().to_string(), source };
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((path, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(&path).map_err(|error| failed(&path, error))? {
            let entry = entry.map_err(|error| failed(&path, error))?;
            let about = entry.metadata().map_err(|error| failed(&entry.path(), error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if about.is_file() {
                found.push((format!("{prefix}{name}"), about.len()));
            } else if about.is_dir() && prefix.is_empty() {
                folders.push((entry.path(), format!("{name}/")));
            }
        }
    }
    found.sort();
    Ok(found)
}
