//! The one thread that owns the device and the model. Device tensors never leave it: requests go in,
//! pictures come out.

mod active_sample;
mod clock;
mod guard;
mod policy;
mod request;
mod sampler;
mod shapes;
mod shared;
mod watchdog;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uso_engine::{Engine, Error as EngineError, LoraFile};
use uso_queue::WorkerState;

use crate::cache_owners::CacheOwners;
use crate::{Condition, Error};
use active_sample::ActiveSample;
pub use clock::{Activity, Clock};
pub use policy::Rank;
pub use request::{
    FinishedSample, PartialSample, Phase, Progress, RunningSample, SampleRequest, Unfinished, Usage, Wanted,
};
use sampler::Sampler;
pub use shared::{DeviceStatus, Sharing};
use shared::{Watched, prove};
pub use watchdog::Patience;
use watchdog::Watchdog;

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// The model's name.
    pub model: String,
    /// What it computes on.
    pub device: String,
    /// Precision the numbers are kept in.
    pub precision: String,
    /// What its pictures depend on beside their requests.
    pub fingerprint: String,
    /// Bytes free for samples under way; none if the engine cannot tell.
    pub memory: Option<u64>,
    /// The LoRAs that requests may name.
    pub loras: Vec<LoraFile>,
    /// Side in pixels of the square that it makes of a style reference.
    pub style_side: u32,
    /// Whether it is scripted: its pictures are made up.
    pub scripted: bool,
    /// How its model is laid out, in a line; none if nobody planned it.
    pub plan: Option<String>,
}

/// A handle on the thread. Dropping it ends the thread after its current step.
pub struct DeviceThread {
    requests: Option<mpsc::Sender<ActiveSample>>,
    thread: Option<JoinHandle<()>>,
    engine: EngineInfo,
    clock: Arc<Clock>,
    status: watch::Receiver<DeviceStatus>,
    condition: Condition,
    watchdog: Arc<Watchdog>,
    /// Cancelled once the device hangs.
    hangs: CancellationToken,
    cache_owners: CacheOwners,
}

impl DeviceThread {
    /// Starts the thread and has `load` make the engine on it; it does so again after a panic. The engine
    /// must pass its self-test first. How far it is can be seen in `condition`.
    ///
    /// # Errors
    /// What the engine says of a model that cannot be loaded, or that samples wrongly.
    pub async fn start<E: Engine>(
        load: impl Fn() -> Result<E, EngineError> + Send + 'static,
        sharing: Sharing,
        condition: Condition,
    ) -> Result<Self, Error> {
        let (requests, inbox) = mpsc::channel();
        let (loaded, ready) = oneshot::channel();
        let clock = Arc::new(Clock::default());
        let (status_sender, status) = watch::channel(DeviceStatus::default());
        let watchdog = Arc::<Watchdog>::default();
        let (its_clock, its_watchdog, its) = (Arc::clone(&clock), Arc::clone(&watchdog), condition.clone());
        let thread = std::thread::Builder::new()
            .name("device".into())
            .spawn(move || match prove(&load, &its) {
                Ok(engine) => {
                    let _ = loaded.send(Ok(EngineInfo::new(&engine)));
                    let watched = Watched { clock: &its_clock, watchdog: &its_watchdog, condition: &its };
                    Sampler::new(engine, &load, sharing, watched, &status_sender).serve(&inbox);
                }
                Err(error) => drop(loaded.send(Err(error))),
            })
            .map_err(|error| Error::DeviceLost(error.to_string()))?;
        let gone = || Error::DeviceLost("its thread ended while it loaded the model".into());
        let engine = ready.await.map_err(|_| gone())??;
        let (hangs, cache_owners) = (CancellationToken::new(), CacheOwners::default());
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            engine,
            clock,
            status,
            condition,
            watchdog,
            hangs,
            cache_owners,
        })
    }

    /// What it samples with and on.
    pub fn engine(&self) -> &EngineInfo {
        &self.engine
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.engine.model
    }

    /// Where its time goes.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// What it has now.
    pub fn status(&self) -> DeviceStatus {
        *self.status.borrow()
    }

    /// Whose prompts and references it has encoded.
    pub(crate) fn cache_owners(&self) -> &CacheOwners {
        &self.cache_owners
    }

    /// Follows what it has.
    pub(crate) fn follow(&self) -> watch::Receiver<DeviceStatus> {
        self.status.clone()
    }

    /// How the worker of this device is.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Looks at the device until it hangs: then the request that it hangs at is told so, and the thread can never be
    /// joined.
    pub(crate) async fn until_it_hangs(&self) {
        const EVERY: Duration = Duration::from_millis(250);
        while !self.watchdog.look(EVERY) {
            tokio::time::sleep(EVERY).await;
        }
        self.condition.set(WorkerState::Stuck);
        self.hangs.cancel();
    }

    /// Cancelled once it hangs.
    pub(crate) fn hangs(&self) -> &CancellationToken {
        &self.hangs
    }

    /// Whether its thread has ended.
    pub fn is_gone(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Has a picture sampled.
    pub fn sample(&self, request: SampleRequest) -> RunningSample {
        let (active, running) = ActiveSample::new(request);
        if let Some(requests) = &self.requests {
            // If the thread is gone, so is the request, and whoever waits for its end is told.
            let _ = requests.send(active);
        }
        running
    }
}

impl EngineInfo {
    fn new(engine: &impl Engine) -> Self {
        Self {
            model: engine.name().to_owned(),
            device: engine.device(),
            precision: engine.precision().to_owned(),
            fingerprint: engine.fingerprint().to_owned(),
            memory: engine.memory(),
            loras: engine.loras().to_vec(),
            style_side: engine.style_side(),
            scripted: engine.is_scripted(),
            plan: engine.plan().map(str::to_owned),
        }
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        drop(self.requests.take());
        if self.hangs.is_cancelled() {
            tracing::error!("the device's thread hangs: it is left behind");
        } else if let Some(thread) = self.thread.take() {
            // Panics inside are caught; another way to fail there is not.
            let _ = thread.join();
        }
    }
}
