//! Fetches the pictures of a shard: in order, several at once, within a bound of memory.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use uso_store::Store;

use crate::{Error, Outcome};

/// Bytes of pictures that are fetched or wait to be written.
const IN_FLIGHT: usize = 64 << 20;
/// Pictures that are fetched at once.
pub(super) const AT_ONCE: usize = 16;
/// What the bound is counted in: permits are few, pictures may be large.
const UNIT: usize = 1024;

/// A picture, and its share of the memory for as long as it is held.
pub(super) struct Picture {
    pub(super) outcome: Outcome,
    pub(super) bytes: Bytes,
    /// SHA-256 of its bytes in hexadecimal.
    pub(super) sha256: String,
    _share: OwnedSemaphorePermit,
}

/// The pictures of these outcomes, in their order.
pub(super) fn pictures<'a>(
    store: &'a Store,
    outcomes: Vec<Outcome>,
) -> impl Stream<Item = Result<Picture, Error>> + 'a {
    let memory = Arc::new(Semaphore::new(IN_FLIGHT / UNIT));
    // Shares are taken in the order of the pictures, before their fetches begin: the next one to be written always has
    // its share, so they cannot wait for each other.
    let shared = futures::stream::iter(outcomes).then(move |outcome| {
        let memory = Arc::clone(&memory);
        async move {
            let bytes = outcome.output.as_ref().map_or(0, |output| output.bytes) as usize;
            let share = bytes.div_ceil(UNIT).clamp(1, IN_FLIGHT / UNIT) as u32;
            let share = memory.acquire_many_owned(share).await;
            share.map(|share| (outcome, share)).map_err(|error| Error::Task(error.to_string()))
        }
    });
    shared
        .map(move |shared| {
            let store = store.clone();
            // Each goes on while nobody looks at the stream.
            let fetched = AbortOnDropHandle::new(tokio::spawn(async move {
                let (outcome, share) = shared?;
                let (bytes, sha256) = fetch(&store, &outcome).await?;
                Ok(Picture { outcome, bytes, sha256, _share: share })
            }));
            async move { fetched.await.map_err(|error| Error::Task(error.to_string()))? }
        })
        .buffered(AT_ONCE)
}

async fn fetch(store: &Store, outcome: &Outcome) -> Result<(Bytes, String), Error> {
    let unreadable = |reason: &str| Error::Unreadable {
        object: format!("the outcome of row {}", outcome.row),
        reason: reason.to_owned(),
    };
    let output = outcome.output.as_ref().ok_or_else(|| unreadable("it has no picture"))?;
    let key = key_of(store, &output.uri).ok_or_else(|| unreadable("its picture is not in our bucket"))?;
    Ok(store.get_with_digest(key).await?)
}

/// The key of an object of our bucket.
pub(super) fn key_of<'a>(store: &Store, uri: &'a str) -> Option<&'a str> {
    uri.strip_prefix("s3://")?.strip_prefix(store.config().bucket.as_str())?.strip_prefix('/')
}
