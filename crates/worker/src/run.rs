//! The loop: claim, have jobs driven, wait for more; and the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uso_queue::{Claim, Class, Lease, Queue, Renewer, WorkerId, WorkerState};
use uso_store::Store;

use crate::claims::{self, Offer, Wish};
use crate::drive::Next;
use crate::ears::{Ears, For};
use crate::held::{Held, HeldJob, Stage};
use crate::presence;
use crate::store_watch::StoreWatch;
use crate::workshop::{Pace, Settings, Workshop};
use crate::{DeviceThread, Error, Metrics, attempt, drain};

/// A worker looks for work at least this often, wake-up or not.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
const _: () =
    assert!(LOOK.as_millis() < uso_queue::IDLE_FOR.as_millis(), "it would not count as idle in between");

/// How long a worker that has given a job away leaves bulk work that it could not begin to others.
const LEAVE: Duration = Duration::from_secs(5);

/// One device, one queue, one store.
pub struct Worker {
    queue: Queue,
    renewer: Renewer,
    shop: Arc<Workshop>,
    id: WorkerId,
    held: Arc<Held>,
    /// Numbers jobs in the order in which they came.
    numbers: AtomicU64,
}

/// What the loop must remember.
struct Loop {
    ears: Ears,
    drives: JoinSet<Result<Next, Error>>,
    /// What was wished for in vain, and whether as an idle worker: it is not asked for again before something
    /// is heard.
    fruitless: Option<(Wish, bool)>,
    /// Until when bulk work is left to others.
    leave_until: Option<Instant>,
}

impl Worker {
    /// Puts a worker together; nothing is claimed yet.
    pub fn new(
        queue: Queue,
        store: Store,
        device: DeviceThread,
        metrics: Metrics,
        settings: Settings,
    ) -> Self {
        let attempts = queue.config().attempts;
        let leave = CancellationToken::new();
        let (pace, store_watch) = (Pace::default(), StoreWatch::default());
        let shop =
            Arc::new(Workshop { store, store_watch, device, metrics, attempts, settings, pace, leave });
        let (id, held) = (WorkerId::new(), Arc::default());
        let renewer = Renewer::start(&queue);
        Self { queue, renewer, shop, id, held, numbers: AtomicU64::new(0) }
    }

    /// Its name in the queue.
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// Works until `stop`. Then it claims no more, hands back what has not begun and finishes what the
    /// grace allows; the rest, and all of it once `hurry` is tripped, is handed back half-drawn.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device can draw no more; [`Error::DeviceStuck`] if it hangs: the process is to end
    /// without waiting for its thread.
    pub async fn run(self, stop: CancellationToken, hurry: CancellationToken) -> Result<(), Error> {
        tracing::info!(worker.id = %self.id, model = self.shop.device.model(), "worker {} is ready", self.id);
        let over = CancellationToken::new();
        // Lost leases are looked for, and others see this worker, also while it finishes.
        let work = async {
            let end = tokio::select! {
                end = self.work(&stop, &hurry) => end,
                never = self.watch_device() => never,
            };
            over.cancel();
            end
        };
        let reap = self.queue.reap_until(&self.id, over.clone());
        let look = self.shop.store_watch.look_until(&self.shop.store, self.shop.device.condition(), &over);
        let (end, (), (), ()) = tokio::join!(work, reap, self.attend_until(over.clone()), look);
        self.renewer.stop().await;
        end
    }

    async fn attend_until(&self, over: CancellationToken) {
        let report = || presence::report(&self.shop, &self.held.jobs());
        presence::attend_until(&self.queue, &self.id, report, over).await;
    }

    /// Jobs hear by themselves that the device hangs.
    async fn watch_device<T>(&self) -> T {
        self.shop.device.until_it_hangs().await;
        tracing::error!("the device hangs: this process ends");
        std::future::pending().await
    }

    async fn work(&self, stop: &CancellationToken, hurry: &CancellationToken) -> Result<(), Error> {
        let ears = Ears::new(self.queue.clone());
        let drives = JoinSet::new();
        let mut state = Loop { ears, drives, fruitless: None, leave_until: None };
        let worked = self.claim_until(stop, &mut state).await;
        self.shop.device.condition().set(WorkerState::Draining);
        // Beside a device that hangs, finished pictures can still be stored.
        let is_lost = matches!(worked, Err(Error::DeviceLost(_)));
        let grace = if is_lost { Duration::ZERO } else { self.shop.settings.grace };
        let drained = self.drain(grace, hurry, &mut state.drives).await;
        worked.and(drained)
    }

    /// # Errors
    /// [`Error::DeviceLost`], [`Error::DeviceStuck`].
    async fn claim_until(&self, stop: &CancellationToken, state: &mut Loop) -> Result<(), Error> {
        while !stop.is_cancelled() {
            let held = self.held.jobs();
            // Without a store no job gets anywhere.
            let away = self.shop.store_watch.is_away();
            let wish = claims::wish(&held, &self.offer(state)).filter(|_| !away);
            let idle = self.is_idle(&held);
            if let Some(wish) = &wish
                && state.fruitless != Some((wish.clone(), idle))
            {
                state.fruitless = None;
                if self.claim(wish, idle, state).await > 0 {
                    continue;
                }
                state.fruitless = Some((wish.clone(), idle));
            }
            let listen = match &wish {
                None => For::Nothing,
                Some(_) if idle => For::Work,
                // Nobody counts on it, and it has nothing to do.
                Some(_) if held.iter().all(|job| job.stage == Stage::Fetching) => For::Anything,
                Some(wish) if wish.classes.contains(&Class::Interactive) => For::Urgent,
                Some(_) => For::Time,
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.shop.device.hangs().cancelled() => return Err(Error::DeviceStuck),
                Some(next) = state.drives.join_next() => match ended(next)? {
                    Next::Job => {}
                    Next::Others => state.leave_until = Some(Instant::now() + LEAVE),
                },
                () = self.held.changed() => {}
                () = until(state.leave_until) => state.leave_until = None,
                () = self.shop.store_watch.until(!away) => state.fruitless = None,
                () = state.ears.hear(listen) => state.fruitless = None,
            }
        }
        Ok(())
    }

    fn offer(&self, state: &Loop) -> Offer<'_> {
        let Settings { slots, most_aside, classes, .. } = &self.shop.settings;
        let leaves_bulk = state.leave_until.is_some_and(|until| Instant::now() < until);
        Offer { slots: *slots, most_aside: *most_aside, classes, leaves_bulk }
    }

    /// Whether it may be woken for any job, and be left any. One that draws a single class is never counted on.
    fn is_idle(&self, held: &[HeldJob]) -> bool {
        held.is_empty() && Class::ALL.iter().all(|class| self.shop.settings.classes.contains(class))
    }

    /// Claims what is wished for and has it driven; gives how much that was.
    async fn claim(&self, wish: &Wish, idle: bool, state: &mut Loop) -> usize {
        let about = self.shop.device.about();
        let loras: Vec<String> = about.loras.iter().map(|file| file.name.clone()).collect();
        let claim = Claim {
            worker: &self.id,
            classes: &wish.classes,
            count: wish.count,
            busy: !idle,
            alone: self.held.jobs().is_empty(),
            capacity: about.memory,
            loras: &loras,
            without: &wish.without,
        };
        match self.queue.claim(&claim).await {
            Ok(leases) => {
                let count = leases.len();
                leases.into_iter().for_each(|lease| self.start(lease, &mut state.drives));
                count
            }
            Err(error) => {
                // Without Redis there are no wake-ups either: what follows only waits.
                tracing::warn!(%error, "cannot claim now");
                0
            }
        }
    }

    fn start(&self, lease: Lease, drives: &mut JoinSet<Result<Next, Error>>) {
        tracing::info!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, "claimed");
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (keeper, rank) = (self.renewer.keep(&lease), attempt::rank(&lease));
        let hand_back = keeper.hand_back();
        let job = HeldJob {
            id: lease.id,
            tenant: lease.tenant.clone(),
            rank,
            stage: Stage::Ahead,
            alone: lease.alone,
            hand_back,
        };
        let ticket = self.held.take(number, job);
        let shop = Arc::clone(&self.shop);
        drives.spawn(async move { shop.drive(lease, keeper, ticket).await });
    }

    /// Lets what has begun end within `grace`; what cannot goes back to the queue with what is drawn of it.
    async fn drain(
        &self,
        grace: Duration,
        hurry: &CancellationToken,
        drives: &mut JoinSet<Result<Next, Error>>,
    ) -> Result<(), Error> {
        let step = self.shop.device.clock().step();
        let back = drain::hand_back(self.held.jobs(), step, grace);
        back.iter().for_each(|job| job.hand_back.cancel());
        let last = drain::last_part(grace);
        let leave = async {
            tokio::select! {
                () = hurry.cancelled() => {}
                () = tokio::time::sleep(grace.saturating_sub(last)) => {}
            }
            self.held.jobs().iter().for_each(|job| job.hand_back.cancel());
            // What is half-drawn still goes into the store, if it takes it.
            tokio::time::sleep(last).await;
            self.shop.leave.cancel();
            std::future::pending::<()>().await;
        };
        let mut drained = Ok(());
        let wait = async {
            while let Some(next) = drives.join_next().await {
                drained = std::mem::replace(&mut drained, Ok(())).and(ended(next).map(|_| ()));
            }
        };
        tokio::select! {
            () = leave => {}
            () = wait => {}
        }
        drained
    }
}

/// Returns at that time; never, where there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// # Errors
/// [`Error::DeviceLost`], also for a drive that has panicked: nobody knows what it left behind.
fn ended(next: Result<Result<Next, Error>, tokio::task::JoinError>) -> Result<Next, Error> {
    next.unwrap_or_else(|error| Err(Error::DeviceLost(format!("a job's task ended early: {error}"))))
}
