//! Renewal of leases, beside the work they stand for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::hold::{Hold, Renewal};
use crate::{Lease, Queue};

/// Renews all leases of a process: one call a shard on every beat, so that a thousand leases cost what one does.
pub struct Renewer {
    held: Arc<Held>,
    /// Dropping it ends the tasks.
    stop: DropGuard,
    /// One a shard: one that is silent holds up no other.
    tasks: Vec<JoinHandle<()>>,
}

/// The renewal of one lease. Dropping it ends that.
pub struct Keeper {
    held: Arc<Held>,
    number: u64,
    settling: Arc<AtomicBool>,
    lost: CancellationToken,
    window_closed: CancellationToken,
    wanted_elsewhere: watch::Receiver<bool>,
}

#[derive(Default)]
struct Held(Mutex<Leases>);

#[derive(Default)]
struct Leases {
    /// What is renewed, by the order in which it came.
    kept: BTreeMap<u64, Kept>,
    count: u64,
    /// Leases that were lost while this process lived: their jobs are not to blame.
    lost: Vec<Hold>,
}

/// A lease that is renewed, and where its holder learns what the queue says.
#[derive(Clone)]
struct Kept {
    hold: Hold,
    settling: Arc<AtomicBool>,
    lost: CancellationToken,
    window_closed: CancellationToken,
    wanted: watch::Sender<bool>,
}

impl Renewer {
    /// Starts the beat, off the caller's thread.
    pub fn start(queue: &Queue) -> Self {
        let (held, stop) = (Arc::<Held>::default(), CancellationToken::new());
        let task = |shard| tokio::spawn(beat(queue.clone(), shard, Arc::clone(&held), stop.clone()));
        let tasks = queue.shards().map(task).collect();
        Self { held, stop: stop.drop_guard(), tasks }
    }

    /// Renews a lease from now on.
    pub fn keep(&self, lease: &Lease) -> Keeper {
        let (lost, window_closed) = (CancellationToken::new(), CancellationToken::new());
        let (wanted, wanted_elsewhere) = watch::channel(false);
        let settling = Arc::<AtomicBool>::default();
        let kept = Kept {
            hold: lease.hold().clone(),
            settling: Arc::clone(&settling),
            lost: lost.clone(),
            window_closed: window_closed.clone(),
            wanted,
        };
        let number = self.held.lock().add(kept);
        Keeper { held: Arc::clone(&self.held), number, settling, lost, window_closed, wanted_elsewhere }
    }

    /// Ends the beat and waits for its tasks.
    pub async fn stop(self) {
        drop(self.stop);
        for task in self.tasks {
            // A task only fails by a panic, which has been reported where it happened.
            let _ = task.await;
        }
    }
}

impl Keeper {
    /// Says that the end of the attempt is being handed in. From then on the lease may be gone because of that, so a
    /// renewal that does not find it says nothing: what the queue answers to the end itself does.
    pub fn settling(&self) {
        self.settling.store(true, Ordering::Release);
    }

    /// Cancelled once another process holds the job, or it has ended. Whoever learns of it in another
    /// way may trip it too.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Cancelled once the nightly window has closed for the job: it should go back to the queue soon.
    pub fn window_closed(&self) -> CancellationToken {
        self.window_closed.clone()
    }

    /// Whether a worker without work would take the job if it were handed back, as of the last renewal: it
    /// may be so and then no more. Never so for interactive jobs, which are begun at once.
    pub fn wanted_elsewhere(&self) -> watch::Receiver<bool> {
        self.wanted_elsewhere.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut leases = self.held.lock();
        if let Some(kept) = leases.kept.remove(&self.number)
            && kept.lost.is_cancelled()
        {
            leases.lost.push(kept.hold);
        }
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leases of a shard that are not lost yet.
    fn of(&self, shard: u16) -> Vec<Kept> {
        let leases = self.lock();
        let here = |kept: &&Kept| kept.hold.id.shard() == shard && !kept.lost.is_cancelled();
        leases.kept.values().filter(here).cloned().collect()
    }

    /// Takes one of a shard out whose mark is to be cleared.
    fn take_lost(&self, shard: u16) -> Option<Hold> {
        let lost = &mut self.lock().lost;
        let index = lost.iter().position(|hold| hold.id.shard() == shard)?;
        Some(lost.swap_remove(index))
    }
}

impl Leases {
    fn add(&mut self, kept: Kept) -> u64 {
        self.count += 1;
        self.kept.insert(self.count, kept);
        self.count
    }
}

impl Kept {
    fn note(&self, renewal: Renewal) {
        if renewal.window_closed {
            self.window_closed.cancel();
        }
        self.wanted.send_if_modified(|wanted| {
            std::mem::replace(wanted, renewal.wanted_elsewhere) != renewal.wanted_elsewhere
        });
    }
}

async fn beat(queue: Queue, shard: u16, held: Arc<Held>, stop: CancellationToken) {
    let every = queue.0.config.renew;
    let mut next = Instant::now() + every;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(next) => {}
        }
        // A beat that got no answer is followed by the next at once.
        next = Instant::now() + every;
        let leases = held.of(shard);
        tokio::select! {
            () = stop.cancelled() => break,
            () = renew(&queue, &leases, every) => {}
        }
        clear_marks(&queue, shard, &held).await;
    }
    clear_marks(&queue, shard, &held).await;
}

async fn renew(queue: &Queue, leases: &[Kept], limit: Duration) {
    if leases.is_empty() {
        return;
    }
    let holds: Vec<&Hold> = leases.iter().map(|kept| &kept.hold).collect();
    match queue.renew_all(&holds, limit).await {
        Ok(renewals) => {
            for (kept, renewal) in leases.iter().zip(renewals) {
                match renewal {
                    Some(renewal) => kept.note(renewal),
                    None if kept.settling.load(Ordering::Acquire) => {}
                    None => {
                        tracing::warn!(job.id = %kept.hold.id, fence = kept.hold.fence, "lost the lease");
                        kept.lost.cancel();
                    }
                }
            }
        }
        // While Redis is away nobody else can claim the jobs either: go on, and ask again.
        Err(error) => {
            tracing::warn!(shard = holds[0].id.shard(), leases = leases.len(), %error, "could not renew")
        }
    }
}

/// Says that this process is alive of leases that it has lost and is done with.
async fn clear_marks(queue: &Queue, shard: u16, held: &Held) {
    // One by one: those behind one that fails are kept for the next beat, as it is.
    while let Some(hold) = held.take_lost(shard) {
        if let Err(error) = queue.clear_mark(&hold).await {
            tracing::debug!(job.id = %hold.id, %error, "a job is still blamed for a lease that was only out of reach");
            held.lock().lost.push(hold);
            return;
        }
    }
}
