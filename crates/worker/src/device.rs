//! The one thread that owns the device and the model. Device tensors never leave it: requests go in,
//! pictures come out.

mod clock;
mod guard;
mod policy;
mod sampling;
mod table;
mod watchdog;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uso_engine::{CacheCounts, Engine, Error as EngineError, Image, LoraFile, PromptTokens, Request};
use uso_queue::WorkerState;

use crate::seen::Seen;
use crate::{Condition, Error};
pub use clock::{Activity, Clock};
pub use policy::Rank;
use sampling::Sampling;
pub use sampling::Wishes;
use table::Table;
pub use watchdog::Patience;
use watchdog::Watchdog;

/// How the device is shared.
#[derive(Debug, Clone, Copy)]
pub struct Sharing {
    /// Pictures that may be half-drawn at once: the one that is drawn, and those that are set aside for it.
    pub most_begun: usize,
    /// While bulk work waits, it gets one step in this many.
    pub bulk_every: u32,
    /// How long it may take before it counts as stuck.
    pub patience: Patience,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { most_begun: 5, bulk_every: 20, patience: Patience::default() }
    }
}

/// A finished picture and what it took.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture.
    pub image: Image,
    /// What it took.
    pub effort: Effort,
}

/// What the device did for a picture in this attempt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Effort {
    /// Time spent on text, style and reference.
    pub encode: Duration,
    /// Time spent on steps.
    pub sample: Duration,
    /// Time spent on turning the latent into pixels.
    pub decode: Duration,
    /// All of it, previews and copies too.
    pub device: Duration,
    /// Steps done.
    pub steps: u32,
    /// Steps of these that were not computed whole, see [`Request::step_cache`].
    pub skipped_steps: u32,
    /// Steps that an attempt before had done.
    pub resumed_from: u32,
    /// Features that were there already.
    pub cache_hits: u64,
    /// How often it had to let another picture go first.
    pub set_aside: u32,
    /// How much of the prompt was used; none if the engine does not read prompts.
    pub prompt_tokens: Option<PromptTokens>,
}

/// A picture that was left off between two steps.
#[derive(Debug, Clone)]
pub struct HalfDrawn {
    /// Steps done.
    pub step: u32,
    /// From what an engine with the same fingerprint goes on.
    pub bytes: Bytes,
}

/// What became of an order.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The whole picture.
    Drawn(Drawn),
    /// It is to be gone on with elsewhere; none if not a step was done.
    HandedBack(Option<HalfDrawn>),
    /// It can never be drawn here.
    TooBig {
        /// Bytes that it needs.
        need: u64,
        /// Bytes that there are.
        memory: u64,
    },
}

/// A picture to be drawn.
pub struct Order {
    /// What to draw.
    pub request: Arc<Request>,
    /// How urgent it is.
    pub rank: Rank,
    /// A checkpoint of the same request to go on from.
    pub resume: Option<Bytes>,
    /// Tripped when nobody wants the picture any more; heeded between steps.
    pub give_up: CancellationToken,
    /// Tripped when the picture is to be left half-drawn; heeded between steps.
    pub hand_back: CancellationToken,
    /// Tripped by the device's watchdog when the device hangs at this picture.
    pub stuck: CancellationToken,
    /// What else is wanted of it.
    pub wishes: Arc<Wishes>,
}

/// Where a picture stands on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// It has not begun.
    #[default]
    Waiting,
    /// It is being drawn.
    Drawing,
    /// It is half-drawn, and lets another go first.
    SetAside,
}

/// How far a picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Where it stands.
    pub place: Place,
    /// Steps done.
    pub step: u32,
}

/// A picture under way.
pub struct Drawing {
    /// How far it is; reads the newest, older news may be missed.
    pub progress: watch::Receiver<Progress>,
    /// The newest copy that was wanted.
    pub copy: watch::Receiver<Option<HalfDrawn>>,
    /// The newest preview that was wanted.
    pub preview: watch::Receiver<Option<Image>>,
    /// What becomes of it, or why nothing does.
    pub outcome: oneshot::Receiver<Result<Outcome, Error>>,
}

/// What the device has at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What its cache of features has done so far.
    pub cache: CacheCounts,
    /// Bytes that no picture under way takes; none if the engine cannot tell.
    pub free: Option<u64>,
}

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// The model's name.
    pub model: String,
    /// What it draws on.
    pub device: String,
    /// Precision the numbers are kept in.
    pub precision: String,
    /// What its pictures depend on beside their requests.
    pub fingerprint: String,
    /// Bytes free for pictures under way; none if the engine cannot tell.
    pub memory: Option<u64>,
    /// The LoRAs that requests may name.
    pub loras: Vec<LoraFile>,
    /// Side in pixels of the square that it makes of a style reference.
    pub style_side: u32,
    /// Whether its pictures are made up.
    pub scripted: bool,
    /// How its model is laid out, in a line; none if nobody planned it.
    pub plan: Option<String>,
}

/// A handle on the thread. Dropping it ends the thread after what it is drawing.
pub struct DeviceThread {
    orders: Option<mpsc::Sender<Sampling>>,
    thread: Option<JoinHandle<()>>,
    about: About,
    clock: Arc<Clock>,
    standing: watch::Receiver<Standing>,
    condition: Condition,
    watchdog: Arc<Watchdog>,
    /// Tripped once the device hangs.
    hangs: CancellationToken,
    seen: Seen,
}

impl DeviceThread {
    /// Starts the thread and has `load` make the engine on it; it does so again after a panic. The engine
    /// must pass its self-test first. How far it is can be seen in `condition`.
    ///
    /// # Errors
    /// What the engine says of a model that cannot be loaded, or that draws wrongly.
    pub async fn start<E: Engine>(
        load: impl Fn() -> Result<E, EngineError> + Send + 'static,
        sharing: Sharing,
        condition: Condition,
    ) -> Result<Self, Error> {
        let (orders, inbox) = mpsc::channel();
        let (loaded, ready) = oneshot::channel();
        let clock = Arc::new(Clock::default());
        let (tell, standing) = watch::channel(Standing::default());
        let watchdog = Arc::<Watchdog>::default();
        let (its_clock, its_watchdog, its) = (Arc::clone(&clock), Arc::clone(&watchdog), condition.clone());
        let thread = std::thread::Builder::new()
            .name("device".into())
            .spawn(move || match prove(&load, &its) {
                Ok(engine) => {
                    let _ = loaded.send(Ok(About::new(&engine)));
                    let watched = Watched { clock: &its_clock, watchdog: &its_watchdog, condition: &its };
                    Table::new(engine, &load, sharing, watched, &tell).serve(&inbox);
                }
                Err(error) => drop(loaded.send(Err(error))),
            })
            .map_err(|error| Error::DeviceLost(error.to_string()))?;
        let gone = || Error::DeviceLost("its thread ended while it loaded the model".into());
        let about = ready.await.map_err(|_| gone())??;
        let (hangs, seen) = (CancellationToken::new(), Seen::default());
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
            about,
            clock,
            standing,
            condition,
            watchdog,
            hangs,
            seen,
        })
    }

    /// What it draws with and on.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.about.model
    }

    /// Where its time goes.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// What it has now.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Whose prompts and references it has encoded.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Follows what it has.
    pub(crate) fn follow(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// How the worker of this device is.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Looks at the device until it hangs: then the order that it hangs at is told so, and the thread can never be
    /// joined.
    pub(crate) async fn until_it_hangs(&self) {
        const EVERY: Duration = Duration::from_millis(250);
        while !self.watchdog.look(EVERY) {
            tokio::time::sleep(EVERY).await;
        }
        self.condition.set(WorkerState::Stuck);
        self.hangs.cancel();
    }

    /// Tripped once it hangs.
    pub(crate) fn hangs(&self) -> &CancellationToken {
        &self.hangs
    }

    /// Whether it can draw no more.
    pub fn is_gone(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Has a picture drawn.
    pub fn draw(&self, order: Order) -> Drawing {
        let (sampling, drawing) = Sampling::new(order);
        if let Some(orders) = &self.orders {
            // If the thread is gone, so is the order, and the answer says that nobody answers.
            let _ = orders.send(sampling);
        }
        drawing
    }
}

/// How others see what the thread is at.
#[derive(Clone, Copy)]
struct Watched<'a> {
    clock: &'a Clock,
    watchdog: &'a Watchdog,
    condition: &'a Condition,
}

/// An engine that has shown that it can draw.
fn prove<E: Engine>(
    load: &dyn Fn() -> Result<E, EngineError>,
    condition: &Condition,
) -> Result<E, EngineError> {
    condition.set(WorkerState::Starting);
    let mut engine = load()?;
    condition.set(WorkerState::SelfTest);
    engine.self_test()?;
    condition.set(WorkerState::Ready);
    Ok(engine)
}

impl About {
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
        drop(self.orders.take());
        if self.hangs.is_cancelled() {
            tracing::error!("the device's thread hangs: it is left behind");
        } else if let Some(thread) = self.thread.take() {
            // Panics inside are caught; another way to fail there is not.
            let _ = thread.join();
        }
    }
}
