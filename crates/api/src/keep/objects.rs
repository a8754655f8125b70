//! Objects that are kept: made young, so that no rule deletes them by age.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use uso_queue::Source;
use uso_store::{Store, is_swept, upload_key};

/// Younger objects are left as they are: rules delete after days.
pub(crate) const YOUNG: Duration = Duration::from_secs(24 * 60 * 60);
/// Objects that are kept at once.
const AT_ONCE: usize = 16;
/// Objects that are remembered as kept in a round: those of more are kept once for each chunk that names them.
const REMEMBERED: usize = 1_000_000;

/// The objects that were kept in a round.
pub(super) struct Kept {
    hasher: RandomState,
    hashes: HashSet<u64>,
    count: usize,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), hashes: HashSet::new(), count: 0 }
    }

    /// Whether an object is met for the first time, as far as is remembered.
    pub(super) fn is_new(&mut self, key: &str) -> bool {
        if self.hashes.len() >= REMEMBERED {
            self.hashes.clear();
        }
        let is_new = self.hashes.insert(self.hasher.hash_one(key));
        self.count += usize::from(is_new);
        is_new
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// Why objects that waiting jobs and rows name may not have been kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The queue could not be read.
    #[error("queue: {0}")]
    Queue(#[from] uso_queue::Error),
    /// The store refused.
    #[error("store: {0}")]
    Store(#[from] uso_store::Error),
    /// The rows of a data set could not be read.
    #[error("rows: {0}")]
    Rows(#[from] uso_dataset::Error),
}

/// The key of a reference in `bucket`, if rules delete it by age there.
pub(crate) fn swept_key(source: &Source, tenant: &str, bucket: &str) -> Option<String> {
    match source {
        Source::Upload { id, .. } => Some(upload_key(tenant, id)),
        Source::S3 { bucket: its, key } if its == bucket && is_swept(key) => Some(key.clone()),
        Source::S3 { .. } | Source::Web { .. } => None,
    }
}

/// Makes objects young.
pub(super) async fn keep_all(store: &Store, keys: Vec<String>) -> Result<(), uso_store::Error> {
    let kept = stream::iter(keys).map(|key| async move { store.keep(&key, YOUNG).await });
    let mut kept = std::pin::pin!(kept.buffer_unordered(AT_ONCE));
    while let Some(kept) = kept.next().await {
        kept?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut kept = Kept::new();
        assert!(kept.is_new("a") && !kept.is_new("a"));
        for number in 0..REMEMBERED {
            kept.is_new(&number.to_string());
        }
        assert!(kept.hashes.len() <= REMEMBERED);
        assert!(kept.is_new("a"), "it is kept once more");
    }
}
