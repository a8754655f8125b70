//! An engine that makes noise at a set pace, for benchmarks and for tests of everything around a model.

mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use self::script::{NotAScript, Script};
use crate::cache::Cache;
use crate::{
    CacheCounts, Engine, Error, Footprint, Image, LoraFile, Request, Shape, Steps, Together, checkpoint,
};

/// Side of a preview in pixels.
const PREVIEW_SIDE: u32 = 8;

/// Bytes that a feature counts as.
const FEATURE_BYTES: u64 = 1 << 20;

/// An engine without a model. Its pictures are noise, but they are a function of the request and of each step done once
/// and in order, so that tests can check the result.
pub struct Scripted {
    script: Script,
    /// Number of pictures begun.
    begun: u64,
    /// Number of samples that exist.
    alive: Arc<AtomicU64>,
    /// Prompts and references that were seen. It saves no time, because times would then depend on the order of jobs.
    seen: Cache<()>,
    loras: Vec<LoraFile>,
}

/// A picture that a [`Scripted`] engine works on.
pub struct ScriptedSample {
    state: u64,
    steps: Steps,
    ending: Ending,
    footprint: Footprint,
    _alive: Alive,
}

/// How a sample will end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Picture,
    Failure(u32),
    Panic(u32),
    OutOfMemory(u32),
    Hang(u32),
    NotFinite,
    Flat,
}

/// Counts a sample for as long as it exists.
struct Alive(Arc<AtomicU64>);

impl Alive {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Scripted {
    /// An engine that follows `script`.
    pub fn new(script: Script) -> Self {
        let mut loras: Vec<LoraFile> = script.loras.iter().map(|name| lora(name)).collect();
        loras.sort_by(|a, b| a.name.cmp(&b.name));
        let seen = Cache::new(script.cache);
        Self { script, begun: 0, alive: Arc::default(), seen, loras }
    }

    /// Random for each picture, so that a failed job may succeed the next time. Only running out of memory and hanging
    /// depend on the request, and happen on every attempt.
    fn ending(&mut self, request: u64, steps: u32) -> Ending {
        let Script { seed, fail, panic, nan, flat, oom, hang, .. } = self.script;
        let share = |random: u64| random as f64 / u64::MAX as f64;
        let size = mix(!seed ^ mix(request));
        if share(size) < oom {
            return Ending::OutOfMemory(size as u32 % steps.max(1));
        }
        let hangs = mix(seed ^ mix(!request));
        if share(hangs) < hang {
            return Ending::Hang(1 + hangs as u32 % steps.saturating_sub(1).max(1));
        }
        self.begun += 1;
        let random = mix(seed ^ mix(request ^ mix(self.begun)));
        let (at, share) = (random as u32 % steps.max(1), share(random));
        let endings = [
            (fail, Ending::Failure(at)),
            (panic, Ending::Panic(at)),
            (nan, Ending::NotFinite),
            (flat, Ending::Flat),
        ];
        let mut below = 0.0;
        let ending = endings.into_iter().find(|(width, _)| {
            below += width;
            share < below
        });
        ending.map_or(Ending::Picture, |(_, ending)| ending)
    }

    /// Time of a step of so many samples.
    fn joint_step(&self, samples: usize) -> Duration {
        let further = samples.saturating_sub(1) as f64 * self.script.joint.unwrap_or(1.0);
        self.script.step.mul_f64(1.0 + further)
    }

    fn check_crowd(&self, sample: &ScriptedSample) -> Result<(), Error> {
        let is_crowd = self.script.crowd.is_some_and(|most| self.alive.load(Ordering::Relaxed) > most);
        if is_crowd { Err(self.out_of_memory(sample)) } else { Ok(()) }
    }

    /// Does what ends more than one sample's step.
    fn strike(&self, sample: &ScriptedSample) {
        match sample.ending {
            Ending::Panic(at) if at <= sample.steps.done => panic!("the script asks for it"),
            Ending::Hang(at) if at <= sample.steps.done => loop {
                thread::park();
            },
            _ => {}
        }
    }

    /// A step that takes no time.
    fn advance(&self, sample: &mut ScriptedSample) -> Result<(), Error> {
        let Steps { done, of } = sample.steps;
        match sample.ending {
            _ if sample.steps.is_done() => return Ok(()),
            Ending::Failure(at) if at <= done => return Err(Error::Scripted),
            Ending::OutOfMemory(at) if at <= done => return Err(self.out_of_memory(sample)),
            Ending::NotFinite if done + 1 == of => {
                return Err(Error::NotFinite { step: of as usize, steps: of as usize });
            }
            _ => {}
        }
        sample.state = mix(sample.state ^ u64::from(done));
        sample.steps.done += 1;
        Ok(())
    }

    fn out_of_memory(&self, sample: &ScriptedSample) -> Error {
        Error::OutOfMemory { need: Some(sample.footprint.alone()), free: self.script.memory }
    }

    /// Counts the features that a model would have looked up.
    fn look_up(&mut self, request: &Request) {
        let content =
            request.content.iter().map(|content| (content.digest().as_slice(), request.content_size));
        let styles = request.styles.iter().map(|style| (style.digest().as_slice(), 0));
        let parts = [(request.prompt.as_bytes(), 1)].into_iter().chain(content).chain(styles);
        for (content, kind) in parts {
            let key = Sha256::new().chain_update(kind.to_le_bytes()).chain_update(content).finalize().into();
            if self.seen.get(&key).is_none() {
                self.seen.put(key, (), FEATURE_BYTES);
            }
        }
    }
}

impl Engine for Scripted {
    type Sample = ScriptedSample;

    fn name(&self) -> &str {
        "scripted"
    }

    fn device(&self) -> String {
        "none".into()
    }

    fn fingerprint(&self) -> &str {
        concat!("scripted ", env!("CARGO_PKG_VERSION"))
    }

    fn precision(&self) -> &str {
        "none"
    }

    fn loras(&self) -> &[LoraFile] {
        &self.loras
    }

    fn is_scripted(&self) -> bool {
        true
    }

    fn self_test(&mut self) -> Result<(), Error> {
        if self.script.selftest_fails {
            return Err(Error::SelfTest("the script asks for it".into()));
        }
        Ok(())
    }

    fn memory(&self) -> Option<u64> {
        self.script.memory
    }

    fn footprint(&self, request: &Request) -> Footprint {
        let pixels = u128::from(request.width) * u128::from(request.height);
        let scaled = |bytes: u64| u64::try_from((u128::from(bytes) * pixels) >> 20).unwrap_or(u64::MAX);
        Footprint { kept: scaled(self.script.kept), movable: 0, working: scaled(self.script.working) }
    }

    fn cache(&self) -> CacheCounts {
        self.seen.counts()
    }

    fn encode(&mut self, request: &Request) -> Result<ScriptedSample, Error> {
        thread::sleep(self.script.encode);
        self.look_up(request);
        let digest = request.digest();
        let state = digest.bytes().fold(0, |state, byte| mix(state ^ u64::from(byte)));
        let steps = Steps { done: 0, of: request.steps };
        Ok(ScriptedSample {
            state,
            steps,
            ending: self.ending(state, steps.of),
            footprint: self.footprint(request),
            _alive: Alive::new(&self.alive),
        })
    }

    fn steps(&self, sample: &ScriptedSample) -> Steps {
        sample.steps
    }

    fn step(&mut self, sample: &mut ScriptedSample) -> Result<(), Error> {
        if sample.steps.is_done() {
            return Ok(());
        }
        thread::sleep(self.script.step);
        self.check_crowd(sample)?;
        self.strike(sample);
        self.advance(sample)
    }

    fn shape(&self, request: &Request) -> Option<Shape> {
        self.script.joint?;
        let content = request.content.as_ref().map(|content| (content.width(), content.height()));
        let (width, height, styles) = (request.width, request.height, request.styles.len() as u32);
        Some(Shape { width, height, content, styles, loras: Vec::new() })
    }

    fn together(&self, request: &Request, samples: usize) -> Together {
        let working = self.footprint(request).working.saturating_mul(samples as u64);
        let expected = self.script.joint.map(|_| self.joint_step(samples));
        Together { working, expected }
    }

    fn step_together(
        &mut self,
        samples: &mut [&mut ScriptedSample],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        thread::sleep(self.joint_step(samples.len()));
        // Before any of them changes.
        for sample in samples.iter() {
            self.check_crowd(sample)?;
            self.strike(sample);
        }
        Ok(samples.iter_mut().map(|sample| self.advance(sample)).collect())
    }

    fn set_aside(&self, _: &mut ScriptedSample) -> Result<(), Error> {
        Ok(())
    }

    fn preview(&self, sample: &ScriptedSample) -> Result<Option<Image>, Error> {
        if sample.steps.done == 0 {
            return Ok(None);
        }
        thread::sleep(self.script.preview);
        Ok(Some(noise(sample.state, PREVIEW_SIDE)))
    }

    fn checkpoint(&self, sample: &ScriptedSample) -> Result<Vec<u8>, Error> {
        Ok(checkpoint::pack(sample.steps, &sample.state.to_le_bytes()))
    }

    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<ScriptedSample, Error> {
        let (done, numbers) = checkpoint::unpack(checkpoint, request.steps, size_of::<u64>())?;
        let mut sample = self.encode(request)?;
        sample.state = u64::from_le_bytes(std::array::from_fn(|i| numbers[i]));
        sample.steps.done = done;
        Ok(sample)
    }

    fn decode_predicted(&mut self, sample: &ScriptedSample) -> Result<Option<Image>, Error> {
        if sample.steps.done == 0 {
            return Ok(None);
        }
        thread::sleep(self.script.decode);
        Ok(Some(noise(sample.state, self.script.size)))
    }

    fn decode(&mut self, sample: &ScriptedSample) -> Result<Image, Error> {
        thread::sleep(self.script.decode);
        let mut image = noise(sample.state, self.script.size);
        if sample.ending == Ending::Flat {
            image.rgb.fill(0);
        }
        Ok(image)
    }
}

/// A LoRA whose numbers are its name.
fn lora(name: &str) -> LoraFile {
    let digest = hex::encode(Sha256::digest(name));
    LoraFile { name: name.to_owned(), digest }
}

/// A square of noise that depends only on `state`.
fn noise(state: u64, side: u32) -> Image {
    let values = 3 * side as usize * side as usize;
    // Word by word: benchmarks measure what lies around it.
    let mut rgb = Vec::with_capacity(values.next_multiple_of(size_of::<u64>()));
    for i in 0..values.div_ceil(size_of::<u64>()) as u64 {
        rgb.extend_from_slice(&mix(state ^ mix(i)).to_le_bytes());
    }
    rgb.truncate(values);
    Image { width: side, height: side, rgb }
}

/// A made-up score of the picture of a seed, 0 to 1, by the measure of this name: tests know it beforehand.
pub fn score(seed: u64, measure: &str) -> f64 {
    let measure = measure.bytes().fold(0, |state, byte| mix(state ^ u64::from(byte)));
    (mix(seed ^ measure) >> 11) as f64 / (1_u64 << 53) as f64
}

/// SplitMix64: turns a number into an unrelated one (Steele, Lea and Flood, 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
