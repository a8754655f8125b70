//! Renewal of a lease, beside the work it stands for.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Error;
use crate::lease::{Hold, Renewal};

/// Renews a lease until it is stopped or the lease is lost.
pub struct Keeper {
    lost: CancellationToken,
    hand_back: CancellationToken,
    /// Dropping it ends the task, so that a forgotten keeper keeps nothing alive.
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(crate) fn start(hold: Hold) -> Self {
        let (lost, hand_back, stop) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(renew_until(hold, lost.clone(), hand_back.clone(), stop.clone()));
        Self { lost, hand_back, stop: stop.drop_guard(), task }
    }

    /// Tripped once another process holds the job, or it has ended. Whoever learns of it in another
    /// way may trip it too.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Tripped once the job should go back to the queue: its nightly window has closed.
    pub fn hand_back(&self) -> CancellationToken {
        self.hand_back.clone()
    }

    /// Ends the renewal and waits for its task.
    pub async fn stop(self) {
        drop(self.stop);
        // The task only fails by a panic, which has been reported where it happened.
        let _ = self.task.await;
    }
}

async fn renew_until(
    hold: Hold,
    lost: CancellationToken,
    hand_back: CancellationToken,
    stop: CancellationToken,
) {
    let every: Duration = hold.queue.0.config.renew;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = lost.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match hold.renew().await {
            Ok(Renewal::Held) => {}
            Ok(Renewal::HandBack) => hand_back.cancel(),
            Err(Error::LostLease { .. }) => {
                tracing::warn!(job.id = %hold.id, fence = hold.fence, "lost the lease");
                lost.cancel();
                return;
            }
            // While Redis is away nobody else can claim the job either: go on, and ask again.
            Err(error) => tracing::warn!(job.id = %hold.id, fence = hold.fence, %error, "could not renew"),
        }
    }
}
