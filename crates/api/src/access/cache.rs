//! What was read lately, so that not every request reads it anew.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// Most values: a client that sends ever new names must not fill the memory.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not 0");

/// How long a process uses what it has read about a key: a revoked key is refused after that.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(3);

/// Values by name, each for a short time.
pub(crate) struct Cache<V> {
    life: Duration,
    values: Mutex<LruCache<String, (Instant, V)>>,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(life: Duration) -> Self {
        Self { life, values: Mutex::new(LruCache::new(MOST)) }
    }

    pub(crate) fn get(&self, name: &str) -> Option<V> {
        let mut values = self.lock();
        values.get(name).filter(|(when, _)| when.elapsed() < self.life).map(|(_, value)| value.clone())
    }

    pub(crate) fn put(&self, name: &str, value: V) {
        self.lock().put(name.to_owned(), (Instant::now(), value));
    }

    pub(crate) fn forget(&self, name: &str) {
        self.lock().pop(name);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<String, (Instant, V)>> {
        // No call can leave the cache half changed.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_used_for_a_while_and_their_number_is_bounded() {
        let cache = Cache::new(Duration::from_millis(50));
        cache.put("a", 1);
        assert_eq!((cache.get("a"), cache.get("b")), (Some(1), None));
        cache.forget("a");
        assert_eq!(cache.get("a"), None);
        cache.put("a", 2);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(cache.get("a"), None);

        let cache = Cache::new(Duration::from_secs(3600));
        for name in 0..=MOST.get() {
            cache.put(&name.to_string(), name);
        }
        assert_eq!(cache.get(&MOST.to_string()), Some(MOST.get()));
        assert_eq!((cache.get("0"), cache.get("1")), (None, Some(1)), "the oldest made room");
    }
}
