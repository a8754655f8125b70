//! Which outcomes' pictures lie in a shard: they are removed from where their jobs put them.

use uso_queue::{BatchId, Queue};

/// Shards that one call asks for.
const PAGE: u64 = 100;

/// Segments whose pictures lie in shards.
pub(super) struct Packed {
    /// All before this one.
    before: u64,
    /// First and last segments of others.
    more: Vec<(u64, u64)>,
}

impl Packed {
    /// Asks the queue.
    pub(super) async fn of(queue: &Queue, batch: &BatchId, packed: u32) -> Result<Self, uso_queue::Error> {
        let last = packed.saturating_sub(1);
        let shards = queue.dataset_shards(batch, last, PAGE).await?;
        let before = if packed > 0 { shards.first().map_or(0, |shard| shard.last + 1) } else { 0 };
        let committed = shards.iter().filter(|shard| shard.committed.is_some());
        Ok(Self { before, more: committed.map(|shard| (shard.first, shard.last)).collect() })
    }

    /// Whether the pictures of a segment lie in a shard.
    pub(super) fn holds(&self, segment: u64) -> bool {
        segment < self.before || self.more.iter().any(|(first, last)| (*first..=*last).contains(&segment))
    }
}
