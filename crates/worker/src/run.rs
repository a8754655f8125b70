//! The loop: claim, drive, wait for more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uso_queue::{Queue, WorkerId};
use uso_store::Store;

use crate::drive::Bench;
use crate::{DeviceThread, Error, Metrics};

/// An idle worker looks for work at least this often, wake-up or not.
const LOOK: Duration = Duration::from_secs(1);

/// One device, one queue, one store.
pub struct Worker {
    queue: Queue,
    bench: Bench,
    id: WorkerId,
}

impl Worker {
    /// Puts a worker together; nothing is claimed yet.
    pub fn new(queue: Queue, store: Store, device: DeviceThread, metrics: Metrics) -> Self {
        Self { queue, bench: Bench { store, device, metrics }, id: WorkerId::new() }
    }

    /// Works until `stop`; the job that is under way then is finished first.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device can draw no more.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let reaping = CancellationToken::new();
        // Lost leases are looked for as long as this worker lives, also while it finishes.
        let (queue, id, until) = (self.queue.clone(), self.id.clone(), reaping.clone());
        let reaper = tokio::spawn(async move { queue.reap_until(&id, until).await });
        tracing::info!(worker.id = %self.id, model = self.bench.device.model(), "worker {} is ready", self.id);
        let end = self.work(stop).await;
        reaping.cancel();
        // The task only fails by a panic, which has been reported where it happened.
        let _ = reaper.await;
        end
    }

    async fn work(&self, stop: CancellationToken) -> Result<(), Error> {
        let mut wakeups = self.queue.wakeups();
        while !stop.is_cancelled() {
            match self.queue.claim_one(&self.id).await {
                Ok(Some(lease)) => {
                    tracing::info!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, "started");
                    self.bench.drive(lease).await?;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot claim now");
                    // Without Redis there are no wake-ups either: this only waits.
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = wakeups.wait(LOOK) => {}
            }
        }
        Ok(())
    }
}
