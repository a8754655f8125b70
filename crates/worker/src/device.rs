//! The one thread that owns the device and the model. Device tensors never leave it: requests go in,
//! pictures come out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uso_engine::device::{DType, Device};
use uso_engine::{Error as EngineError, Image, ModelFiles, Request, Uso};

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

/// A picture under way.
pub struct Drawing {
    /// Steps done; reads the newest count, older ones may be missed.
    pub step: watch::Receiver<u32>,
    /// The picture, or why there is none.
    pub picture: oneshot::Receiver<Result<Drawn, Error>>,
}

struct Task {
    request: Request,
    give_up: CancellationToken,
    step: watch::Sender<u32>,
    picture: oneshot::Sender<Result<Drawn, Error>>,
}

/// A handle on the thread. Dropping it ends the thread after its current task.
pub struct DeviceThread {
    tasks: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    model: String,
}

impl DeviceThread {
    /// Starts the thread and loads the model on it.
    ///
    /// # Errors
    /// What the engine says of a model that cannot be loaded.
    pub async fn start(files: ModelFiles, device: Device, dtype: DType) -> Result<Self, Error> {
        let (tasks, inbox) = mpsc::channel();
        let (loaded, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("device".into())
            .spawn(move || {
                let load = move || Uso::load(&files, &device, dtype);
                match load() {
                    Ok(uso) => {
                        let _ = loaded.send(Ok(uso.name().to_owned()));
                        serve(uso, &load, &inbox);
                    }
                    Err(error) => drop(loaded.send(Err(error))),
                }
            })
            .map_err(|error| Error::DeviceLost(error.to_string()))?;
        let gone = || Error::DeviceLost("its thread ended while it loaded the model".into());
        let model = ready.await.map_err(|_| gone())??;
        Ok(Self { tasks: Some(tasks), thread: Some(thread), model })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Has a picture drawn. `give_up` is heeded between steps.
    pub fn draw(&self, request: Request, give_up: CancellationToken) -> Drawing {
        let (step, steps) = watch::channel(0);
        let (picture, answer) = oneshot::channel();
        if let Some(tasks) = &self.tasks {
            // If the thread is gone, so is the task, and the answer says that nobody answers.
            let _ = tasks.send(Task { request, give_up, step, picture });
        }
        Drawing { step: steps, picture: answer }
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
fn serve(mut uso: Uso, load: &dyn Fn() -> Result<Uso, EngineError>, inbox: &mpsc::Receiver<Task>) {
    let mut panicked_before = false;
    while let Ok(task) = inbox.recv() {
        let attempt = AssertUnwindSafe(|| draw(&mut uso, &task));
        match catch_unwind(attempt) {
            Ok(answer) => {
                panicked_before = false;
                let _ = task.picture.send(answer);
            }
            Err(panic) => {
                let message = words(panic.as_ref());
                if panicked_before {
                    let _ = task.picture.send(Err(Error::DeviceLost(message)));
                    return;
                }
                panicked_before = true;
                match load() {
                    Ok(fresh) => uso = fresh,
                    Err(error) => {
                        let _ = task.picture.send(Err(Error::DeviceLost(error.to_string())));
                        return;
                    }
                }
                let _ = task.picture.send(Err(Error::Panicked(message)));
            }
        }
    }
}

fn draw(uso: &mut Uso, task: &Task) -> Result<Drawn, Error> {
    let begun = Instant::now();
    let mut sample = uso.encode(&task.request)?;
    let encoded = Instant::now();
    while !sample.is_done() {
        if task.give_up.is_cancelled() {
            return Err(Error::Abandoned);
        }
        uso.step(&mut sample)?;
        task.step.send_replace(sample.step() as u32);
    }
    let sampled = Instant::now();
    let image = uso.decode(sample)?;
    if is_flat(&image) {
        return Err(Error::Flat);
    }
    let between = |from: Instant, to: Instant| (to - from).as_millis() as u64;
    Ok(Drawn {
        image,
        encode_ms: between(begun, encoded),
        sample_ms: between(encoded, sampled),
        decode_ms: between(sampled, Instant::now()),
    })
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
