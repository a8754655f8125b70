//! Memory for decoding pictures that come in: one amount for all jobs of the process, taken before it is used.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Error;

/// What is counted in.
const UNIT: u64 = 64 << 10;

/// An amount of memory that is shared.
pub(crate) struct Budget {
    units: Semaphore,
    all: u32,
}

/// The process's. Most pictures are decoded row by row and take a few MiB; the largest that cannot be take all of it.
pub(crate) static DECODING: Budget = Budget::new(448 << 20);

impl Budget {
    const fn new(bytes: u64) -> Self {
        let all = (bytes / UNIT) as u32;
        Self { units: Semaphore::const_new(all as usize), all }
    }

    /// Waits until that many bytes are free, and has them until what it gives is dropped. First come, first served; who
    /// needs more than there is gets all of it, and so is alone.
    ///
    /// # Errors
    /// Never: nobody closes it.
    pub(crate) async fn take(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Error> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.all);
        self.units.acquire_many(units).await.map_err(|error| Error::Task(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::join_all;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(flavor = "multi_thread")]
    async fn never_more_is_given_than_there_is() {
        static BUDGET: Budget = Budget::new(8 * MIB);
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        static MOST: AtomicU64 = AtomicU64::new(0);
        let takers = (0..64u64).map(|i| {
            tokio::spawn(async move {
                let bytes = (1 + i % 5) * MIB;
                let permit = BUDGET.take(bytes).await.unwrap();
                MOST.fetch_max(GIVEN.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
                tokio::task::yield_now().await;
                GIVEN.fetch_sub(bytes, Ordering::SeqCst);
                drop(permit);
            })
        });
        for taker in join_all(takers).await {
            taker.unwrap();
        }
        let most = MOST.load(Ordering::SeqCst);
        assert!((5 * MIB..=8 * MIB).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn who_needs_more_than_there_is_waits_until_he_is_alone() {
        let budget = Budget::new(8 * MIB);
        let small = budget.take(MIB).await.unwrap();
        let mut large = Box::pin(budget.take(800 * MIB));
        assert!(futures::poll!(&mut large).is_pending());
        drop(small);
        let all = large.await.unwrap();
        assert!(futures::poll!(Box::pin(budget.take(1))).is_pending());
        drop(all);
        drop(budget.take(8 * MIB).await.unwrap());
    }
}
