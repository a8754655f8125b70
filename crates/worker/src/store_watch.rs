//! Whether the store takes what this worker writes and gives what it reads. While it does not, nothing is
//! claimed: a job that was begun could not be ended.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uso_queue::WorkerState;
use uso_store::Store;

use crate::Condition;

/// Pause before a store that is away is tried again.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// What the parts of a worker tell each other of the store.
pub(crate) struct StoreWatch {
    away: watch::Sender<bool>,
}

impl Default for StoreWatch {
    /// Nothing is known before the first small write.
    fn default() -> Self {
        Self { away: watch::Sender::new(true) }
    }
}

impl StoreWatch {
    /// The store has refused what it must not: nothing is claimed until a small write succeeds.
    pub(crate) fn refused(&self) {
        self.away.send_if_modified(|away| !std::mem::replace(away, true));
    }

    /// Whether nothing is to be claimed.
    pub(crate) fn is_away(&self) -> bool {
        *self.away.borrow()
    }

    /// Returns once the store is away, or once it is back.
    pub(crate) async fn until(&self, away: bool) {
        let mut news = self.away.subscribe();
        // It lives as long as this does.
        let _ = news.wait_for(|now| *now == away).await;
    }

    /// Writes and reads a small object whenever the store is away, until that succeeds; until `over`.
    pub(crate) async fn look_until(&self, store: &Store, condition: &Condition, over: &CancellationToken) {
        let look = async {
            loop {
                self.until(true).await;
                condition.exchange(WorkerState::Ready, WorkerState::WaitingForStore);
                self.until_it_takes_a_write(store).await;
                self.away.send_replace(false);
                condition.exchange(WorkerState::WaitingForStore, WorkerState::Ready);
            }
        };
        tokio::select! {
            never = look => never,
            () = over.cancelled() => {}
        }
    }

    async fn until_it_takes_a_write(&self, store: &Store) {
        let mut warned = false;
        while let Err(error) = store.probe().await {
            if !std::mem::replace(&mut warned, true) {
                tracing::warn!(%error, "the store takes no writes: no job is claimed until it does");
            }
            tokio::time::sleep(AGAIN).await;
        }
        if warned {
            tracing::warn!("the store takes writes again");
        }
    }
}
