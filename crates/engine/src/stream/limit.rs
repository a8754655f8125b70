//! How much host memory may be pinned.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Most bytes of host memory that the parts of a model pin together. Pinned memory cannot be swapped out, and is gone
/// for everything else on the machine.
#[derive(Debug)]
pub struct PinnedLimit {
    most: u64,
    pinned: AtomicU64,
    has_told: AtomicBool,
}

impl PinnedLimit {
    /// At most `most` bytes.
    pub const fn new(most: u64) -> Self {
        Self { most, pinned: AtomicU64::new(0), has_told: AtomicBool::new(false) }
    }

    /// Bytes that are pinned now.
    pub fn pinned(&self) -> u64 {
        self.pinned.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more may be pinned; if so, they count as pinned.
    pub fn take(&self, bytes: u64) -> bool {
        let fits = |pinned: u64| pinned.checked_add(bytes).filter(|pinned| *pinned <= self.most);
        self.pinned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// They are pinned no longer.
    pub fn give_back(&self, bytes: u64) {
        self.pinned.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Logs once that copies are slower from now on.
    pub fn tell(&self, reason: &str) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            let (pinned, most) = (self.pinned(), self.most);
            tracing::warn!(
                pinned,
                most,
                "no more host memory is pinned, so copies to the device are slower: {reason}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_is_pinned() {
        let limit = PinnedLimit::new(100);
        assert!(limit.take(60) && !limit.take(41) && limit.take(40));
        assert_eq!(limit.pinned(), 100);
        limit.give_back(60);
        assert!(!limit.take(u64::MAX) && limit.take(1));
        assert_eq!(limit.pinned(), 41);
    }
}
