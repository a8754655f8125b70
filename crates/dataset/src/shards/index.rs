//! What is in a data set.

use serde::{Deserialize, Serialize};

use super::doubles::NearDoubles;
use super::stats::{Counts, Stats};

/// What is in a data set: `index.json`. What it does not list is no part of the data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The batch that it was made from.
    pub batch: String,
    /// Rows of all shards.
    pub rows: u64,
    /// Size of all tars in bytes.
    pub bytes: u64,
    /// What is counted over all rows.
    pub total: Counts,
    /// Rows whose pictures look alike, within and across shards; none if nobody has compared them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_doubles: Option<NearDoubles>,
    /// The shards by number.
    pub shards: Vec<Stats>,
}

impl Index {
    /// The index of these shards.
    pub fn of(batch: impl ToString, mut shards: Vec<Stats>) -> Self {
        shards.sort_by_key(|shard| shard.shard);
        let mut total = Counts::default();
        shards.iter().for_each(|shard| total.merge(&shard.counts));
        // Whoever verifies an index adds up what anybody may have written.
        let sum = |of: fn(&Stats) -> u64| shards.iter().map(of).fold(0, u64::saturating_add);
        Self {
            batch: batch.to_string(),
            rows: sum(|shard| shard.rows),
            bytes: sum(|shard| shard.bytes),
            total,
            near_doubles: None,
            shards,
        }
    }
}
