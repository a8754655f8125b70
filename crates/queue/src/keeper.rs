//! Renewal of a lease, beside the work it stands for.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Error;
use crate::lease::Hold;

/// Renews a lease until it is stopped or the lease is lost.
pub struct Keeper {
    lost: CancellationToken,
    hand_back: CancellationToken,
    wanted_elsewhere: watch::Receiver<bool>,
    /// Dropping it ends the task, so that a forgotten keeper keeps nothing alive.
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(crate) fn start(hold: Hold) -> Self {
        let (lost, hand_back, stop) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let (wanted, wanted_elsewhere) = watch::channel(false);
        let told = Told { lost: lost.clone(), hand_back: hand_back.clone(), wanted };
        let task = tokio::spawn(renew_until(hold, told, stop.clone()));
        Self { lost, hand_back, wanted_elsewhere, stop: stop.drop_guard(), task }
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

    /// Whether a worker without work would take the job if it were handed back, as of the last renewal: it
    /// may be so and then no more. Never so for interactive jobs, which are begun at once.
    pub fn wanted_elsewhere(&self) -> watch::Receiver<bool> {
        self.wanted_elsewhere.clone()
    }

    /// Ends the renewal and waits for its task.
    pub async fn stop(self) {
        drop(self.stop);
        // The task only fails by a panic, which has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Where the keeper's holder hears what the queue says.
struct Told {
    lost: CancellationToken,
    hand_back: CancellationToken,
    wanted: watch::Sender<bool>,
}

async fn renew_until(hold: Hold, told: Told, stop: CancellationToken) {
    let every: Duration = hold.queue.0.config.renew;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = told.lost.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match hold.renew().await {
            Ok(renewal) => {
                if renewal.hand_back {
                    told.hand_back.cancel();
                }
                told.wanted.send_if_modified(|wanted| {
                    std::mem::replace(wanted, renewal.wanted_elsewhere) != renewal.wanted_elsewhere
                });
            }
            Err(Error::LostLease { .. }) => {
                tracing::warn!(job.id = %hold.id, fence = hold.fence, "lost the lease");
                told.lost.cancel();
                return;
            }
            // While Redis is away nobody else can claim the job either: go on, and ask again.
            Err(error) => tracing::warn!(job.id = %hold.id, fence = hold.fence, %error, "could not renew"),
        }
    }
}
