//! Half-drawn pictures: their bytes in the store, where they lie in the queue.
//!
//! A checkpoint only saves time. One that cannot be used costs some, never the job.

use bytes::Bytes;
use uso_queue::{Checkpoint, Lease};
use uso_store::{Store, checkpoint_key, hexadecimal_sha256};

use crate::{Error, HalfDrawn};

const BYTES: &str = "application/octet-stream";

/// The bytes that an attempt before left, if they were made with what we have.
pub(crate) async fn fetch(store: &Store, lease: &Lease, fingerprint: &str) -> Option<Bytes> {
    let checkpoint = lease.checkpoint.as_ref()?;
    let refused = match store.get(&checkpoint.key).await {
        _ if checkpoint.fingerprint != fingerprint => "it was made with another model or request".into(),
        Ok(bytes) if hexadecimal_sha256(&bytes) == checkpoint.sha256 => {
            tracing::info!(job.id = %lease.id, step = checkpoint.step, "goes on after step {}", checkpoint.step);
            return Some(bytes);
        }
        Ok(_) => "its sha256 is not the recorded one".into(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(job.id = %lease.id, step = checkpoint.step, "starts from step 0: checkpoint: {refused}");
    None
}

/// Stores a half-drawn picture; the queue does not know of it yet.
pub(crate) async fn keep(
    store: &Store,
    lease: &Lease,
    half: HalfDrawn,
    fingerprint: String,
) -> Result<Checkpoint, Error> {
    let key = checkpoint_key(&lease.id, lease.fence, half.step);
    let stored = store.put(&key, BYTES, half.bytes).await.map_err(Error::Upload)?;
    Ok(Checkpoint { step: half.step, key, sha256: stored.sha256, fingerprint })
}

/// Deletes what nobody goes on from any more. What is left behind here, or by a crash, is for the
/// bucket's lifecycle rule.
pub(crate) async fn forget(store: &Store, lease: &Lease) {
    let Some(checkpoint) = &lease.checkpoint else { return };
    if let Err(error) = store.delete(&checkpoint.key).await {
        tracing::warn!(job.id = %lease.id, %error, "a checkpoint is left behind");
    }
}
