//! What is known of a data set, its segments and its shards.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::answers::Fields;
use crate::codec::json;

/// What a data set may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Pictures at most; none for no limit.
    pub pictures: Option<u64>,
    /// Seconds of device time at most; none for no limit.
    pub device_seconds: Option<u64>,
}

/// What is known of a data set beside its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetView {
    /// Its name.
    pub name: String,
    /// How it is to be made, as the caller wrote it.
    pub settings: String,
    /// Rows that lie in the store.
    pub rows: u64,
    /// Of those, from the first on, how many may be queued.
    pub sealed: u64,
    /// The next row to be queued in this pass.
    pub cursor: u64,
    /// Rows that were queued at least once.
    pub queued_once: u64,
    /// The pass: 0, and one more each time the failed rows are retried.
    pub pass: u8,
    /// Segments of outcomes in the store.
    pub segments: u64,
    /// Outcomes in them.
    pub archived: u64,
    /// Outcomes that are in no segment yet.
    pub waiting: u64,
    /// First segment of the shard that takes rows.
    pub open_first: u64,
    /// Pictures in the shard that takes rows.
    pub open_rows: u64,
    /// Their bytes.
    pub open_bytes: u64,
    /// Shards that take no more rows.
    pub shards: u32,
    /// Of those, from the first on, how many are committed and cleared of what was staged.
    pub packed: u32,
    /// Shards that the index tells of.
    pub described: u32,
    /// Device time in milliseconds, of outcomes in segments.
    pub spent_ms: u64,
    /// What it may cost.
    pub budget: Budget,
    /// Why no rows are queued now: `paused`, `canceled`, `budget_pictures`, `budget_seconds`; none if they are.
    pub held: Option<String>,
    /// Whether this pass queues, of the rows that have not ended well, the marked ones alone.
    pub is_selective: bool,
    /// How often a chunk was replaced by another one with the same keys.
    pub changes: u64,
    /// How often rows were dropped that could not be queued yet.
    pub discards: u64,
    /// The code of a failure: rows that have failed with it are looked for, to be made again.
    pub retries: Option<String>,
    /// Segments, from the first on, of which there is an index.
    pub indexed: u64,
    /// Outcomes in segments whose scores were counted.
    pub counted: u64,
    /// Pictures that each measure rejected, in these outcomes.
    pub rejected: BTreeMap<String, u64>,
}

/// A segment of outcomes in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentView {
    /// Fence of the task under which it was written.
    pub fence: u64,
    /// Outcomes in it.
    pub outcomes: u64,
    /// Of those, pictures.
    pub accepted: u64,
    /// The lowest row in it.
    pub lowest: u64,
    /// The highest row in it.
    pub highest: u64,
}

/// A shard that takes no more rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardView {
    /// Its first segment.
    pub first: u64,
    /// Its last segment.
    pub last: u64,
    /// Pictures in it.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Digest of what is about to be committed.
    pub intent: Option<String>,
    /// What describes the committed shard, as its packer wrote it.
    pub committed: Option<String>,
    /// Whether it is committed and cleared of what was staged.
    pub done: bool,
}

impl DatasetView {
    pub(super) fn read(mut dataset: Fields) -> Result<Self, Error> {
        let number = |value: Option<u64>| value.unwrap_or_default();
        let rejected: Option<String> = dataset.take("rejected")?;
        Ok(Self {
            name: dataset.take("name")?,
            settings: dataset.take("settings")?,
            rows: dataset.take("rows")?,
            sealed: dataset.take("sealed")?,
            cursor: dataset.take("cursor")?,
            queued_once: dataset.take("high")?,
            pass: dataset.take("pass")?,
            segments: dataset.take("segments")?,
            archived: dataset.take("archived")?,
            waiting: dataset.take("waiting")?,
            open_first: dataset.take("open_first")?,
            open_rows: dataset.take("open_rows")?,
            open_bytes: dataset.take("open_bytes")?,
            shards: dataset.take("shards")?,
            packed: dataset.take("packed")?,
            described: dataset.take("described")?,
            spent_ms: dataset.take("spent")?,
            budget: Budget { pictures: dataset.take("pictures")?, device_seconds: dataset.take("seconds")? },
            held: dataset.take("held")?,
            is_selective: number(dataset.take("selective")?) == 1,
            changes: number(dataset.take("changes")?),
            discards: number(dataset.take("discards")?),
            retries: dataset.take("retries")?,
            indexed: number(dataset.take("indexed")?),
            counted: number(dataset.take("counted")?),
            rejected: rejected.as_deref().map(json).transpose()?.unwrap_or_default(),
        })
    }
}
