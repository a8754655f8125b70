//! The loop: claim, drive, wait for more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uso_queue::{Queue, WorkerId};
use uso_store::Store;

use crate::drive::{Bench, Next};
use crate::{DeviceThread, Error, Metrics, presence};

/// An idle worker looks for work at least this often, wake-up or not.
const LOOK: Duration = Duration::from_secs(1);

/// How often a copy of a half-drawn picture is kept, unless somebody says otherwise: what a worker's death
/// costs at most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// One device, one queue, one store.
pub struct Worker {
    queue: Queue,
    bench: Bench,
    id: WorkerId,
    /// Jobs it holds now.
    running: AtomicU32,
}

impl Worker {
    /// Puts a worker together; nothing is claimed yet.
    pub fn new(queue: Queue, store: Store, device: DeviceThread, metrics: Metrics) -> Self {
        let attempts = queue.config().attempts;
        let checkpoint_every = CHECKPOINT_EVERY;
        let bench = Bench { store, device, metrics, attempts, checkpoint_every };
        Self { queue, bench, id: WorkerId::new(), running: AtomicU32::new(0) }
    }

    /// Keeps a copy of a half-drawn picture about this often, from which another worker can go on.
    pub fn checkpoint_every(mut self, every: Duration) -> Self {
        self.bench.checkpoint_every = every;
        self
    }

    /// Works until `stop`; the job that is under way then is finished first.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device can draw no more.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        tracing::info!(worker.id = %self.id, model = self.bench.device.model(), "worker {} is ready", self.id);
        let over = CancellationToken::new();
        // Lost leases are looked for, and others see this worker, also while it finishes.
        let work = async {
            let end = self.work(stop).await;
            over.cancel();
            end
        };
        let reap = self.queue.reap_until(&self.id, over.clone());
        let (end, (), ()) = tokio::join!(work, reap, self.attend_until(over.clone()));
        end
    }

    async fn until_store_answers(&self, stop: &CancellationToken) {
        tracing::warn!("the store is away: no job is claimed until it answers");
        while !stop.is_cancelled() && self.bench.store.ping().await.is_err() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn attend_until(&self, over: CancellationToken) {
        let report = || presence::report(&self.bench.device, self.running.load(Ordering::Relaxed));
        presence::attend_until(&self.queue, &self.id, report, over).await;
    }

    async fn work(&self, stop: CancellationToken) -> Result<(), Error> {
        let mut wakeups = self.queue.wakeups();
        while !stop.is_cancelled() {
            match self.queue.claim_one(&self.id).await {
                Ok(Some(lease)) => {
                    tracing::info!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, "started");
                    self.running.store(1, Ordering::Relaxed);
                    let next = self.bench.drive(lease).await?;
                    self.running.store(0, Ordering::Relaxed);
                    if next == Next::Store {
                        self.until_store_answers(&stop).await;
                    }
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
