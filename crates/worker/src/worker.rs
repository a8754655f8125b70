//! The worker: it claims jobs, drives each, waits for more; and drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uso_queue::{Claim, Class, Lease, Queue, Renewer, WorkerId, WorkerState};
use uso_store::Store;

use crate::active::{ActiveJob, ActiveJobs, Size, Stage};
use crate::claim::{self, Capacity, ClaimRequest};
use crate::context::{Context, Pace, Settings};
use crate::datasets::work_on_datasets;
use crate::hand_back::{HandBack, Reason};
use crate::listener::{Listen, WakeUpListener};
use crate::stages::Ended;
use crate::step_paces::StepPaces;
use crate::store_watch::StoreWatch;
use crate::{DeviceThread, Error, Metrics, Scoring, drain, heartbeat, job};

/// How long a worker that has given a job away leaves bulk work that it could not begin to others.
const LEAVE: Duration = Duration::from_secs(5);

/// One device, one queue, one store.
pub struct Worker {
    queue: Queue,
    renewer: Renewer,
    context: Arc<Context>,
    id: WorkerId,
    active: Arc<ActiveJobs>,
    /// Numbers jobs in the order in which they came.
    numbers: AtomicU64,
}

/// What the loop must remember.
struct Loop {
    listener: WakeUpListener,
    drives: JoinSet<Result<Ended, Error>>,
    /// The last claim that gave nothing, and whether it was an idle worker's: it is not repeated before something is
    /// heard.
    last_empty_claim: Option<(ClaimRequest, bool)>,
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
        let (pace, step_paces, store_watch) = (Pace::default(), StepPaces::default(), StoreWatch::default());
        let context = Arc::new(Context {
            store,
            store_watch,
            device,
            metrics,
            attempts,
            settings,
            pace,
            step_paces,
            leave,
        });
        let (id, active) = (WorkerId::new(), Arc::default());
        let renewer = Renewer::start(&queue);
        Self { queue, renewer, context, id, active, numbers: AtomicU64::new(0) }
    }

    /// Its name in the queue.
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// Works until `stop`. Then it claims no more, hands back what has not begun and finishes what the
    /// grace allows; the rest, and all of it once `hurry` is cancelled, is handed back with a checkpoint.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device is of no use any more; [`Error::DeviceStuck`] if it hangs: the process is to end
    /// without waiting for its thread.
    pub async fn run(self, stop: CancellationToken, hurry: CancellationToken) -> Result<(), Error> {
        tracing::info!(worker.id = %self.id, model = self.context.device.model(), "worker {} is ready", self.id);
        let over = CancellationToken::new();
        let ending = stop.child_token();
        // Lost leases are looked for, and others see this worker, also while it finishes.
        let work = async {
            let end = tokio::select! {
                end = self.work(&stop, &hurry) => end,
                never = self.watch_device() => never,
            };
            over.cancel();
            ending.cancel();
            end
        };
        let reap = self.queue.reap_until(&self.id, over.clone());
        let look =
            self.context.store_watch.look_until(&self.context.store, self.context.device.condition(), &over);
        let (queue, store) = (self.queue.clone(), self.context.store.clone());
        let datasets = work_on_datasets(queue, store, self.id.clone(), ending.clone());
        let (end, (), (), (), ()) =
            tokio::join!(work, reap, self.heartbeat_until(over.clone()), look, Box::pin(datasets));
        self.renewer.stop().await;
        end
    }

    async fn heartbeat_until(&self, over: CancellationToken) {
        let report = || heartbeat::report(&self.context, &self.active.jobs());
        heartbeat::heartbeat_until(&self.queue, &self.id, report, over).await;
    }

    /// Jobs hear by themselves that the device hangs.
    async fn watch_device<T>(&self) -> T {
        self.context.device.until_it_hangs().await;
        tracing::error!("the device hangs: this process ends");
        std::future::pending().await
    }

    async fn work(&self, stop: &CancellationToken, hurry: &CancellationToken) -> Result<(), Error> {
        let listener = WakeUpListener::new(self.queue.clone());
        let drives = JoinSet::new();
        let mut state = Loop { listener, drives, last_empty_claim: None, leave_until: None };
        let worked = self.claim_until(stop, &mut state).await;
        self.context.device.condition().set(WorkerState::Draining);
        // Beside a device that hangs, finished pictures can still be stored.
        let is_lost = matches!(worked, Err(Error::DeviceLost(_)));
        let grace = if is_lost { Duration::ZERO } else { self.context.settings.grace };
        let drained = self.drain(grace, hurry, &mut state.drives).await;
        worked.and(drained)
    }

    /// # Errors
    /// [`Error::DeviceLost`], [`Error::DeviceStuck`].
    async fn claim_until(&self, stop: &CancellationToken, state: &mut Loop) -> Result<(), Error> {
        while !stop.is_cancelled() {
            let held = self.active.jobs();
            // Without a store no job gets anywhere.
            let away = self.context.store_watch.is_away();
            let request = claim::next(&held, &self.capacity(state)).filter(|_| !away);
            let idle = self.is_idle(&held);
            if let Some(request) = &request
                && state.last_empty_claim != Some((request.clone(), idle))
            {
                state.last_empty_claim = None;
                if self.claim(request, idle, state).await > 0 {
                    continue;
                }
                state.last_empty_claim = Some((request.clone(), idle));
            }
            let listen = match &request {
                None => Listen::Nothing,
                Some(_) if idle => Listen::Work,
                Some(_) if held.iter().all(|job| job.stage == Stage::Fetching) => Listen::Often,
                Some(request) if request.classes.contains(&Class::Interactive) => Listen::Urgent,
                Some(_) => Listen::Time,
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.context.device.hangs().cancelled() => return Err(Error::DeviceStuck),
                Some(joined) = state.drives.join_next() => {
                    // Bulk work is left to others for a while: they have none.
                    if let Ended::HandedBack(Reason::WantedElsewhere) = ended(joined)? {
                        state.leave_until = Some(Instant::now() + LEAVE);
                    }
                }
                () = self.active.changed() => {}
                () = until(state.leave_until) => state.leave_until = None,
                () = self.context.store_watch.until(!away) => state.last_empty_claim = None,
                () = state.listener.listen(listen) => state.last_empty_claim = None,
            }
        }
        Ok(())
    }

    fn capacity(&self, state: &Loop) -> Capacity<'_> {
        let Settings { slots, most_aside, classes, .. } = &self.context.settings;
        let leaves_bulk = state.leave_until.is_some_and(|until| Instant::now() < until);
        Capacity { slots: *slots, most_aside: *most_aside, classes, leaves_bulk }
    }

    /// Whether it may be woken for any job, and be left any. One that takes a single class is never counted on.
    fn is_idle(&self, held: &[ActiveJob]) -> bool {
        held.is_empty() && Class::ALL.iter().all(|class| self.context.settings.classes.contains(class))
    }

    /// Claims jobs and has them driven; gives how many.
    async fn claim(&self, request: &ClaimRequest, idle: bool, state: &mut Loop) -> usize {
        let engine = self.context.device.engine();
        let scorers = self.context.scoring().map_or(&[][..], Scoring::scorers);
        let loras = engine.loras.iter().map(|file| file.name.clone());
        let loras: Vec<String> = loras.chain(scorers.iter().map(|scorer| scorer.claim_name())).collect();
        let claim = Claim {
            worker: &self.id,
            classes: &request.classes,
            count: request.count,
            busy: !idle,
            alone: self.active.jobs().is_empty(),
            capacity: engine.memory,
            loras: &loras,
            without: &request.without,
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

    fn start(&self, lease: Lease, drives: &mut JoinSet<Result<Ended, Error>>) {
        tracing::info!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, "claimed");
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (keeper, rank) = (self.renewer.keep(&lease), job::rank(&lease));
        let job = ActiveJob {
            id: lease.id,
            tenant: lease.tenant.clone(),
            rank,
            stage: Stage::Ahead,
            size: Size::of(&lease.spec),
            alone: lease.alone,
            hand_back: HandBack::default(),
        };
        let active = self.active.take(number, job);
        let context = Arc::clone(&self.context);
        drives.spawn(async move { context.drive(lease, keeper, active).await });
    }

    /// Lets what has begun end within `grace`; what cannot goes back to the queue with a checkpoint.
    async fn drain(
        &self,
        grace: Duration,
        hurry: &CancellationToken,
        drives: &mut JoinSet<Result<Ended, Error>>,
    ) -> Result<(), Error> {
        let step = self.context.device.clock().step();
        let back = drain::hand_back(self.active.jobs(), step, grace);
        back.iter().for_each(|job| job.hand_back.ask(Reason::Draining));
        let last = drain::last_part(grace);
        let leave = async {
            tokio::select! {
                () = hurry.cancelled() => {}
                () = tokio::time::sleep(grace.saturating_sub(last)) => {}
            }
            self.active.jobs().iter().for_each(|job| job.hand_back.ask(Reason::Draining));
            // Checkpoints still go into the store, if it takes them.
            tokio::time::sleep(last).await;
            self.context.leave.cancel();
            std::future::pending::<()>().await;
        };
        let mut drained = Ok(());
        let wait = async {
            while let Some(joined) = drives.join_next().await {
                drained = std::mem::replace(&mut drained, Ok(())).and(ended(joined).map(|_| ()));
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
fn ended(joined: Result<Result<Ended, Error>, tokio::task::JoinError>) -> Result<Ended, Error> {
    joined.unwrap_or_else(|error| Err(Error::DeviceLost(format!("a job's task ended early: {error}"))))
}
