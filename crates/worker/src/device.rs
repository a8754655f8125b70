//! The one thread that owns the device and the model. Device tensors never leave it: requests go in,
//! pictures come out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uso_engine::{Engine, Error as EngineError, Image, Request};

use crate::Error;

/// A finished picture and how long its parts took.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture.
    pub image: Image,
    /// Milliseconds spent on text, style and reference.
    pub encode_ms: u64,
    /// Milliseconds spent on all steps.
    pub sample_ms: u64,
    /// Milliseconds spent on turning the latent into pixels.
    pub decode_ms: u64,
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
}

/// A picture to be drawn.
pub struct Order {
    /// What to draw.
    pub request: Arc<Request>,
    /// A checkpoint of the same request to go on from.
    pub resume: Option<Bytes>,
    /// Tripped when nobody wants the picture any more; heeded between steps.
    pub give_up: CancellationToken,
    /// Tripped when the picture is to be left half-drawn; heeded between steps.
    pub hand_back: CancellationToken,
    /// Set when a copy of the half-drawn picture is wanted, and taken back when it is made; heeded between
    /// steps.
    pub copy: Arc<AtomicBool>,
}

/// A picture under way.
pub struct Drawing {
    /// Steps done; reads the newest count, older ones may be missed.
    pub step: watch::Receiver<u32>,
    /// The newest copy that was wanted.
    pub copy: watch::Receiver<Option<HalfDrawn>>,
    /// What becomes of it, or why nothing does.
    pub outcome: oneshot::Receiver<Result<Outcome, Error>>,
}

struct Task {
    order: Order,
    step: watch::Sender<u32>,
    copy: watch::Sender<Option<HalfDrawn>>,
    outcome: oneshot::Sender<Result<Outcome, Error>>,
}

/// What an engine says of itself.
#[derive(Debug, Clone)]
struct About {
    model: String,
    device: String,
    fingerprint: String,
}

/// A handle on the thread. Dropping it ends the thread after its current task.
pub struct DeviceThread {
    tasks: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    about: About,
}

impl DeviceThread {
    /// Starts the thread and has `load` make the engine on it; it does so again after a panic.
    ///
    /// # Errors
    /// What the engine says of a model that cannot be loaded.
    pub async fn start<E: Engine>(
        load: impl Fn() -> Result<E, EngineError> + Send + 'static,
    ) -> Result<Self, Error> {
        let (tasks, inbox) = mpsc::channel();
        let (loaded, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("device".into())
            .spawn(move || match load() {
                Ok(engine) => {
                    let _ = loaded.send(Ok(About::new(&engine)));
                    serve(engine, &load, &inbox);
                }
                Err(error) => drop(loaded.send(Err(error))),
            })
            .map_err(|error| Error::DeviceLost(error.to_string()))?;
        let gone = || Error::DeviceLost("its thread ended while it loaded the model".into());
        let about = ready.await.map_err(|_| gone())??;
        Ok(Self { tasks: Some(tasks), thread: Some(thread), about })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.about.model
    }

    /// What it draws on.
    pub fn device(&self) -> &str {
        &self.about.device
    }

    /// What its pictures depend on beside their requests.
    pub fn fingerprint(&self) -> &str {
        &self.about.fingerprint
    }

    /// Has a picture drawn.
    pub fn draw(&self, order: Order) -> Drawing {
        let (step, steps) = watch::channel(0);
        let (copy, copies) = watch::channel(None);
        let (outcome, answer) = oneshot::channel();
        if let Some(tasks) = &self.tasks {
            // If the thread is gone, so is the task, and the answer says that nobody answers.
            let _ = tasks.send(Task { order, step, copy, outcome });
        }
        Drawing { step: steps, copy: copies, outcome: answer }
    }
}

impl About {
    fn new(engine: &impl Engine) -> Self {
        Self {
            model: engine.name().to_owned(),
            device: engine.device(),
            fingerprint: engine.fingerprint().to_owned(),
        }
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(thread) = self.thread.take() {
            // Panics inside are caught; another way to fail there is not.
            let _ = thread.join();
        }
    }
}

/// Draws until nobody asks any more. After a panic the model is loaded anew, for its tensors may be
/// half written; a second panic in a row means that the device itself is gone.
fn serve<E: Engine>(mut engine: E, load: &dyn Fn() -> Result<E, EngineError>, inbox: &mpsc::Receiver<Task>) {
    let mut panicked_before = false;
    while let Ok(task) = inbox.recv() {
        let attempt = AssertUnwindSafe(|| draw(&mut engine, &task));
        match catch_unwind(attempt) {
            Ok(answer) => {
                panicked_before = false;
                let _ = task.outcome.send(answer);
            }
            Err(panic) => {
                let message = words(panic.as_ref());
                if panicked_before {
                    let _ = task.outcome.send(Err(Error::DeviceLost(message)));
                    return;
                }
                panicked_before = true;
                match load() {
                    Ok(fresh) => engine = fresh,
                    Err(error) => {
                        let _ = task.outcome.send(Err(Error::DeviceLost(error.to_string())));
                        return;
                    }
                }
                let _ = task.outcome.send(Err(Error::Panicked(message)));
            }
        }
    }
}

fn draw(engine: &mut impl Engine, Task { order, step, copy, .. }: &Task) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let mut sample = begin(engine, order)?;
    let encoded = Instant::now();
    let mut steps = engine.steps(&sample);
    while !steps.is_done() {
        if order.give_up.is_cancelled() {
            return Err(Error::Abandoned);
        }
        if order.hand_back.is_cancelled() {
            return Ok(Outcome::HandedBack(half_drawn(engine, &sample)?));
        }
        if order.copy.swap(false, Ordering::Relaxed) {
            copy.send_replace(half_drawn(engine, &sample)?);
        }
        engine.step(&mut sample)?;
        steps = engine.steps(&sample);
        step.send_replace(steps.done);
    }
    let sampled = Instant::now();
    let image = engine.decode(sample)?;
    if is_flat(&image) {
        return Err(Error::Flat);
    }
    let between = |from: Instant, to: Instant| (to - from).as_millis() as u64;
    Ok(Outcome::Drawn(Drawn {
        image,
        encode_ms: between(begun, encoded),
        sample_ms: between(encoded, sampled),
        decode_ms: between(sampled, Instant::now()),
    }))
}

/// A sample that goes on where it was left off, if that can be; else one from the start.
fn begin<E: Engine>(engine: &mut E, order: &Order) -> Result<E::Sample, Error> {
    if let Some(checkpoint) = &order.resume {
        match engine.resume(&order.request, checkpoint) {
            Err(error @ EngineError::Checkpoint(_)) => tracing::warn!(%error, "starts from step 0"),
            sample => return Ok(sample?),
        }
    }
    Ok(engine.encode(&order.request)?)
}

/// A copy of a sample, if it has come further than its start.
fn half_drawn<E: Engine>(engine: &E, sample: &E::Sample) -> Result<Option<HalfDrawn>, Error> {
    let step = engine.steps(sample).done;
    if step == 0 {
        return Ok(None);
    }
    Ok(Some(HalfDrawn { step, bytes: engine.checkpoint(sample)?.into() }))
}

/// Whether all pixels are the same: what weights that went wrong give.
fn is_flat(image: &Image) -> bool {
    let mut pixels = image.rgb.chunks_exact(3);
    let first = pixels.next();
    pixels.all(|pixel| Some(pixel) == first)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_picture_of_one_colour_is_flat() {
        let image = |rgb: Vec<u8>| Image { width: 2, height: 1, rgb };
        assert!(is_flat(&image(vec![1, 2, 3, 1, 2, 3])));
        assert!(!is_flat(&image(vec![1, 2, 3, 1, 2, 4])));
    }
}
