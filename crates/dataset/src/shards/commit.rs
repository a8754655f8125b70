//! Lets the tar of a prepared shard appear, or gives it up.

use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uso_store::{Error as StoreError, MultipartUpload, Part, Store};

use super::place::Place;
use crate::Error;

/// What has to be known to complete a prepared shard. Note it in the queue before you complete it: whoever finds the note
/// can go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The shard's number.
    pub shard: u32,
    /// Key of the tar.
    pub key: String,
    /// The service's name for the upload; none if the tar was there already.
    pub upload: Option<String>,
    /// Its parts, from the first.
    pub parts: Vec<IntentPart>,
    /// Rows in it.
    pub rows: u64,
    /// Size of the tar in bytes.
    pub bytes: u64,
    /// SHA-256 of the tar in hexadecimal.
    pub sha256: String,
}

/// A part of a prepared tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentPart {
    /// The service's tag of its content.
    pub tag: String,
    /// Its checksum, where the service was sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<String>,
}

impl Intent {
    fn upload(&self) -> Option<MultipartUpload> {
        Some(MultipartUpload { key: self.key.clone(), id: self.upload.clone()? })
    }
}

/// Completes the tar of a prepared shard, unless there is one. That the same tar is there already is no error, so you can
/// repeat the call.
///
/// # Errors
/// [`Error::Taken`] if there is another tar, [`Error::Store`] with a missing object if its upload is gone: prepare it again.
pub async fn commit(store: &Store, intent: &Intent) -> Result<(), Error> {
    let Some(upload) = intent.upload() else { return same(store, intent, None).await };
    let parts = intent.parts.iter().zip(1..);
    let parts: Vec<Part> = parts
        .map(|(part, number)| Part { number, tag: part.tag.clone(), crc32: part.crc32.clone() })
        .collect();
    match store.complete_upload(&upload, &parts).await {
        Ok(()) => Ok(()),
        // Perhaps an earlier try completed it, or another worker did.
        Err(error @ (StoreError::Exists { .. } | StoreError::Missing { .. })) => {
            same(store, intent, Some(error)).await?;
            store.abort_upload(&upload).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the tar that is there is the one that was meant.
async fn same(store: &Store, intent: &Intent, otherwise: Option<StoreError>) -> Result<(), Error> {
    match digest_of(store, &intent.key).await? {
        Some(digest) if digest == intent.sha256 => Ok(()),
        Some(_) => Err(Error::Taken { object: intent.key.clone() }),
        None => Err(match otherwise {
            Some(error) => error.into(),
            None => {
                Error::Unreadable { object: intent.key.clone(), reason: "it is not there any more".into() }
            }
        }),
    }
}

/// SHA-256 of an object by its bytes, whatever was noted with it; none if it is not there.
pub(super) async fn digest_of(store: &Store, key: &str) -> Result<Option<String>, Error> {
    if store.head(key).await?.is_none() {
        return Ok(None);
    }
    let place = Place::Store { store: store.clone(), prefix: String::new() };
    let digest = place.stream(key, sha256_of).await?;
    digest.map(Some).map_err(|source| Error::File { path: key.to_owned(), source })
}

fn sha256_of(object: &mut dyn Read) -> std::io::Result<String> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match object.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            size => digest.update(&buffer[..size]),
        }
    }
}

/// Gives a prepared shard up. What was uploaded is gone; row file and statistics stay until another try replaces them.
///
/// # Errors
/// [`Error::Store`].
pub async fn abandon(store: &Store, intent: &Intent) -> Result<(), Error> {
    match intent.upload() {
        Some(upload) => Ok(store.abort_upload(&upload).await?),
        None => Ok(()),
    }
}
