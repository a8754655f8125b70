//! How a batch's data set is to be made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a batch's data set is to be made. It is kept as JSON beside the batch in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A name for people; empty for none.
    pub name: String,
    /// Rows of a shard at most.
    pub shard_rows: u32,
    /// Bytes of a shard's pictures after which it takes no more rows.
    pub shard_bytes: u64,
    /// How rows are split for training; none for no split.
    pub split: Option<Split>,
    /// The models' licences as you state them, by the models' names; null where you do not know one. They go into the
    /// data set's card.
    pub licences: BTreeMap<String, Option<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            shard_rows: 10_000,
            shard_bytes: 2 << 30,
            split: None,
            licences: BTreeMap::new(),
        }
    }
}

/// A split for training, stable by a hash: a row never changes sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// What is hashed: `key` for the row's key, or the name of a field of the row's `metadata`, for example `subject`:
    /// all rows with the same value lie on the same side.
    pub by: String,
    /// Share of rows for validation, 0 to 1.
    pub val: f64,
}

impl Settings {
    /// Reads settings as they are kept in the queue.
    ///
    /// # Errors
    /// [`Error::Unreadable`](crate::Error::Unreadable).
    pub fn read(text: &str) -> Result<Self, crate::Error> {
        serde_json::from_str(text).map_err(|error| crate::Error::Unreadable {
            object: "a batch's settings".into(),
            reason: error.to_string(),
        })
    }
}
