//! What a newer manifest changes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

use super::row::Digest;

/// What a row of a newer manifest is to the older rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The key is there, and asks for the same.
    Same,
    /// There is no such key: the batch is extended.
    New,
    /// The key is there, and asks for something else.
    Changed,
}

/// Compares the rows of a newer manifest with older rows, by key and digest. It keeps 16 bytes an old row and room to
/// grow: about 50 MB for a million rows. Keys and digests are compared by 64 bits: one of a million rows is taken for
/// another once in 37 million manifests.
///
/// First tell it all [`old`](Self::old) rows, then each row once, in any order; then it knows what is missing.
#[derive(Debug, Default)]
pub struct Changes {
    hasher: RandomState,
    /// Old rows that the newer manifest has not named yet.
    left: HashMap<u64, u64>,
    /// Newer rows with the same key and digest.
    pub same: u64,
    /// Newer rows with a new key.
    pub new: u64,
    /// Newer rows with an old key and another digest.
    pub changed: u64,
}

impl Changes {
    /// Tells an older row.
    pub fn old(&mut self, key: &str, digest: Digest) {
        self.left.insert(self.hasher.hash_one(key), digest.short());
    }

    /// Tells a row of the newer manifest, each key once.
    pub fn compare(&mut self, key: &str, digest: Digest) -> Change {
        let (change, count) = match self.left.remove(&self.hasher.hash_one(key)) {
            None => (Change::New, &mut self.new),
            Some(old) if old == digest.short() => (Change::Same, &mut self.same),
            Some(_) => (Change::Changed, &mut self.changed),
        };
        *count += 1;
        change
    }

    /// How many older rows the newer manifest has not named.
    pub fn missing(&self) -> u64 {
        self.left.len() as u64
    }

    /// Whether the newer manifest has not named this older row.
    pub fn is_missing(&self, key: &str) -> bool {
        self.left.contains_key(&self.hasher.hash_one(key))
    }
}
