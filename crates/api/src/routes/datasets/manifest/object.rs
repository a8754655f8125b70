//! A manifest in the fleet's bucket, read a part at a time.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use uso_dataset::Error;
use uso_dataset::rows::{Kind, Manifest};
use uso_queue::Source;
use uso_store::{Error as StoreError, ObjectInfo, Store, upload_key};

use super::bad_rows::fault;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::reference_access;
use crate::shared::Shared;

/// Largest manifest in bytes.
const MAX_MANIFEST: u64 = 2 << 30;
/// Bytes of one part.
const PART: u64 = 4 << 20;

/// A manifest that its caller may read.
pub(super) struct FoundManifest {
    source: String,
    key: String,
    info: ObjectInfo,
    /// All of it, if it was read from its end before.
    file: Option<NamedTempFile>,
}

/// Finds a manifest that the caller may read.
///
/// # Errors
/// Why it may not, or that there is none.
pub(super) async fn find(
    shared: &Shared,
    caller: &Caller,
    source: &Source,
) -> Result<FoundManifest, Problem> {
    let key = match source {
        Source::S3 { bucket, key } if *bucket == shared.store.config().bucket => key.clone(),
        Source::Upload { id, tag: None } => upload_key(&caller.tenant, id),
        _ => {
            let message =
                format!("must lie in the fleet's bucket, {}, or be an upload", shared.store.config().bucket);
            return Err(fault("not_allowed", message));
        }
    };
    let named = std::iter::once(("/manifest".to_owned(), source));
    let faults = reference_access::faults(shared, &caller.tenant, named).await?;
    if !faults.is_empty() {
        return Err(Problem::fields(faults));
    }
    let info =
        shared.store.head(&key).await?.ok_or_else(|| fault("missing", format!("there is no {source}")))?;
    if info.bytes > MAX_MANIFEST {
        let message = format!("has {} bytes; at most {MAX_MANIFEST} are allowed", info.bytes);
        return Err(fault("too_large", message));
    }
    Ok(FoundManifest { source: source.to_string(), key, info, file: None })
}

impl FoundManifest {
    /// Opens it at its first row, in a thread that may block, and in a process that has a runtime.
    pub(super) fn open(&mut self, store: &Store, kind: Kind) -> Result<OpenManifest, Error> {
        let (name, fault) = (self.source.clone(), Fault::default());
        let reader = ObjectReader::new(store.clone(), self, fault.clone());
        let rows = match kind {
            // It is read from its end.
            Kind::Parquet => {
                let named = |error| match error {
                    Error::Manifest { reason, .. } => Error::Manifest { manifest: name, reason },
                    other => other,
                };
                Manifest::open(self.file(reader)?, Some(kind)).map_err(named)?
            }
            kind => Manifest::read(&name, kind, reader).map_err(|error| fault.or(error))?,
        };
        Ok(OpenManifest { rows, fault })
    }

    /// Where all of it lies; it is fetched once.
    fn file(&mut self, mut reader: ObjectReader) -> Result<&Path, Error> {
        let failed = |source| Error::File { path: self.source.clone(), source };
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut file = NamedTempFile::new().map_err(failed)?;
                io::copy(&mut reader, &mut file).map_err(|error| reader.fault.or(failed(error)))?;
                file
            }
        };
        Ok(self.file.insert(file).path())
    }
}

/// A manifest that is being read.
pub(super) struct OpenManifest {
    pub(super) rows: Manifest,
    pub(super) fault: Fault,
}

/// Whether the manifest itself cannot be read, rather than that the store does not answer.
pub(super) fn is_its_own(error: &Error) -> bool {
    match error {
        Error::Manifest { .. } => true,
        Error::Store(error) => error.is_the_objects_own(),
        _ => false,
    }
}

/// A manifest that cannot be read is its owner's fault, an object store that does not answer is not.
pub(super) fn unreadable(error: Error) -> Problem {
    match error {
        Error::Manifest { reason, .. } => fault("unreadable", reason),
        Error::Store(error) if error.is_the_objects_own() => fault("unreadable", error.to_string()),
        other => other.into(),
    }
}

/// Why the store did not give the next part: to its reader it is an error of a file like any other.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<StoreError>>>);

impl Fault {
    /// The store's error; `other` if it had none.
    pub(super) fn or(&self, other: Error) -> Error {
        let error = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map_or(other, Error::Store)
    }

    fn set(&self, error: StoreError) -> io::Error {
        let told = io::Error::other(error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        told
    }
}

/// The bytes of an object.
struct ObjectReader {
    runtime: Handle,
    store: Store,
    key: String,
    info: ObjectInfo,
    /// Where the next part begins.
    at: u64,
    part: Bytes,
    fault: Fault,
}

impl ObjectReader {
    fn new(store: Store, found: &FoundManifest, fault: Fault) -> Self {
        let (key, info) = (found.key.clone(), found.info.clone());
        Self { runtime: Handle::current(), store, key, info, at: 0, part: Bytes::new(), fault }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && self.at < self.info.bytes {
            let range = self.at..(self.at + PART).min(self.info.bytes);
            self.at = range.end;
            let part = self.runtime.block_on(self.store.read_range(&self.key, &self.info, range));
            self.part = part.map_err(|error| self.fault.set(error))?;
        }
        let most = buffer.len().min(self.part.len());
        self.part.split_to(most).copy_to_slice(&mut buffer[..most]);
        Ok(most)
    }
}
