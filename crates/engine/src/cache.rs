//! A cache bounded in bytes. It drops the least recently used value first.

use std::collections::{BTreeMap, HashMap};

/// Counts of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Features that were in the cache.
    pub hits: u64,
    /// Features that had to be computed.
    pub misses: u64,
    /// Bytes that the cache holds now.
    pub bytes: u64,
}

/// Most bytes of encoded prompts and references to keep, and the fraction of free memory that they may take. At full
/// size a prompt has 4 MiB in bfloat16, a style 1 MiB, a content reference 0.25 MiB.
const CACHE_BYTES: u64 = 512 << 20;
const CACHE_SHARE: u64 = 8;

/// Bytes that the cache may take of the `left` bytes for it and for samples.
pub(crate) fn cache_bytes(left: u64) -> u64 {
    CACHE_BYTES.min(left / CACHE_SHARE)
}

/// SHA-256 of what a value was made from.
pub(crate) type Key = [u8; 32];

/// Values by key. The least recently used is dropped first when room is needed.
pub(crate) struct Cache<V> {
    entries: HashMap<Key, Entry<V>>,
    /// Keys in the order of their last use.
    order: BTreeMap<u64, Key>,
    /// Rises with each use.
    uses: u64,
    capacity: u64,
    counts: CacheCounts,
}

struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<V: Clone> Cache<V> {
    /// A cache of at most `capacity` bytes; with 0 it keeps nothing.
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            capacity,
            counts: CacheCounts::default(),
        }
    }

    /// The value of `key`. This counts as a use.
    pub(crate) fn get(&mut self, key: &Key) -> Option<V> {
        let Some(entry) = self.entries.get_mut(key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        self.uses += 1;
        self.order.remove(&entry.used);
        self.order.insert(self.uses, *key);
        entry.used = self.uses;
        Some(entry.value.clone())
    }

    /// Keeps a value of `bytes` bytes and drops others to make room. A value that is larger than the whole cache is not
    /// kept, and drops no other.
    pub(crate) fn put(&mut self, key: Key, value: V, bytes: u64) {
        self.remove(&key);
        if bytes > self.capacity {
            return;
        }
        while self.counts.bytes + bytes > self.capacity {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = *oldest;
            self.remove(&oldest);
        }
        self.uses += 1;
        self.order.insert(self.uses, key);
        self.entries.insert(key, Entry { value, bytes, used: self.uses });
        self.counts.bytes += bytes;
    }

    /// Most bytes that the cache may hold.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        self.counts
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.counts.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(number: u8) -> Key {
        [number; 32]
    }

    #[test]
    fn the_most_recently_used_stays() {
        let mut cache = Cache::new(30);
        for number in 1..=3 {
            cache.put(key(number), number, 10);
        }
        assert_eq!(cache.get(&key(1)), Some(1));
        cache.put(key(4), 4, 10);
        assert_eq!(cache.get(&key(2)), None, "the least recently used was dropped");
        assert_eq!([1, 3, 4].map(|number| cache.get(&key(number))), [Some(1), Some(3), Some(4)]);
        assert_eq!(cache.counts(), CacheCounts { hits: 4, misses: 1, bytes: 30 });
    }

    #[test]
    fn bytes_are_the_bound_not_entries() {
        let mut cache = Cache::new(30);
        for number in 1..=3 {
            cache.put(key(number), number, 10);
        }
        cache.put(key(4), 4, 25);
        assert_eq!([1, 2, 3].map(|number| cache.get(&key(number))), [None; 3]);
        assert_eq!((cache.get(&key(4)), cache.counts().bytes), (Some(4), 25));
    }

    #[test]
    fn a_value_larger_than_the_cache_is_not_kept_and_drops_nothing() {
        let mut cache = Cache::new(30);
        cache.put(key(1), 1, 30);
        cache.put(key(2), 2, 31);
        assert_eq!((cache.get(&key(1)), cache.get(&key(2))), (Some(1), None));
        let mut none = Cache::new(0);
        none.put(key(1), 1, 1);
        assert_eq!(none.get(&key(1)), None);
    }

    #[test]
    fn a_key_put_twice_counts_once() {
        let mut cache = Cache::new(30);
        cache.put(key(1), 1, 10);
        cache.put(key(1), 2, 20);
        assert_eq!((cache.get(&key(1)), cache.counts().bytes), (Some(2), 20));
        cache.put(key(2), 3, 10);
        assert_eq!(cache.get(&key(1)), Some(2), "there was room for both");
    }
}
