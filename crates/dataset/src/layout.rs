//! Keys of a batch's objects in our bucket.

use std::path::{Component, Path};

use uso_queue::BatchId;

/// Rows that have been checked but not queued yet: [`rows::CHUNK_ROWS`](crate::rows::CHUNK_ROWS) lines of JSON each.
/// The digest is part of the key, so that of two callers that add the same chunk neither overwrites the other's.
pub fn chunk(batch: &BatchId, chunk: u64, sha256: &str) -> String {
    format!("{}rows/{chunk:06}-{}.jsonl", working(batch), sha256.get(..16).unwrap_or(sha256))
}

/// Outcomes of rows, as JSON lines. The fence is part of the key, so that an archiver that lost its lease can never
/// overwrite the segment of a later one.
pub fn segment(batch: &BatchId, segment: u64, fence: u64) -> String {
    format!("{}segments/{segment:06}-{fence}.jsonl", working(batch))
}

/// In which segments the outcomes of a bucket of rows are. The name is another one each time, so that a process that lost
/// its task overwrites nothing.
pub fn row_index(batch: &BatchId, bucket: u64, name: &str) -> String {
    format!("{}{bucket:06}-{name}.json", row_indexes(batch))
}

/// Prefix of all [`row_index`]es.
pub fn row_indexes(batch: &BatchId) -> String {
    format!("{}index/", working(batch))
}

/// Prefix of what the fleet needs to make the data set.
pub fn working(batch: &BatchId) -> String {
    format!("batches/{batch}/")
}

/// Prefix of the data set itself.
pub fn dataset(batch: &BatchId) -> String {
    format!("datasets/{batch}/")
}

/// Name of a shard under [`dataset`].
pub fn shard(number: u32) -> String {
    format!("{number:05}.tar")
}

/// Name of a shard's row file under [`dataset`].
pub fn row_file(number: u32) -> String {
    format!("_meta/{number:05}.parquet")
}

/// Name of a shard's statistics under [`dataset`].
pub fn stats(number: u32) -> String {
    format!("_meta/{number:05}_stats.json")
}

/// Name of the list of all shards under [`dataset`].
pub const INDEX: &str = "index.json";

/// Name of the data set's card under [`dataset`].
pub const CARD: &str = "README.md";

/// Whether a name that somebody else has written, in an index for example, stays in its folder.
pub fn is_inside(name: &str) -> bool {
    let is_plain = |part| matches!(part, Component::Normal(_));
    !name.is_empty() && !name.contains('\\') && Path::new(name).components().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_leaves_its_folder() {
        assert!(["00000.tar", "_meta/00000.parquet", "README.md"].into_iter().all(is_inside));
        let outside = ["", "../a", "/etc/passwd", "a/../../b", "./..", "..\\a"];
        assert!(!outside.into_iter().any(is_inside));
    }
}
