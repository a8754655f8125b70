//! An engine that draws nothing but takes its time: for benchmarks and for tests of everything around
//! a model.

use std::str::FromStr;
use std::thread;
use std::time::Duration;

use crate::{CacheCounts, Engine, Error, Footprint, Image, Request, Steps, checkpoint};

/// How a [`Scripted`] engine behaves, as `step=40ms,fail=0.01`; what is left out takes no time and
/// does not fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Script {
    /// Time to prepare a request.
    pub encode: Duration,
    /// Time of a step.
    pub step: Duration,
    /// Time to turn a sample into a picture.
    pub decode: Duration,
    /// Share of pictures that fail at one of their steps.
    pub fail: f64,
    /// Share of pictures that panic at one of their steps.
    pub panic: f64,
    /// Decides which pictures these are.
    pub seed: u64,
    /// Side of a picture in pixels.
    pub size: u32,
}

impl Default for Script {
    fn default() -> Self {
        let instant = Duration::ZERO;
        Self { encode: instant, step: instant, decode: instant, fail: 0.0, panic: 0.0, seed: 0, size: 16 }
    }
}

/// Words that are no [`Script`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is none of encode=, step= and decode= with a time like 40ms, fail=, panic=, seed=, size=")]
pub struct NotAScript(String);

impl FromStr for Script {
    type Err = NotAScript;

    fn from_str(text: &str) -> Result<Self, NotAScript> {
        let mut script = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            script.set(word).ok_or_else(|| NotAScript(word.to_owned()))?;
        }
        Ok(script)
    }
}

impl Script {
    fn set(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        let share = || value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        match name {
            "encode" => self.encode = duration(value)?,
            "step" => self.step = duration(value)?,
            "decode" => self.decode = duration(value)?,
            "fail" => self.fail = share()?,
            "panic" => self.panic = share()?,
            "seed" => self.seed = value.parse().ok()?,
            "size" => self.size = value.parse().ok().filter(|size| (2..=4096).contains(size))?,
            _ => return None,
        }
        Some(())
    }
}

/// Reads `40ms`, `500us` or `2s`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number = number.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

/// An engine without a model. Its pictures are noise, but a function of the request and of each step
/// done once and in order, so whoever has the request can check the result.
pub struct Scripted {
    script: Script,
    /// Pictures begun.
    begun: u64,
}

/// A picture that a [`Scripted`] engine works on.
pub struct ScriptedSample {
    state: u64,
    steps: Steps,
    fate: Fate,
}

/// What becomes of a sample at a step.
#[derive(Clone, Copy)]
enum Fate {
    Picture,
    Failure(u32),
    Panic(u32),
}

impl Scripted {
    /// An engine that follows `script`.
    pub fn new(script: Script) -> Self {
        Self { script, begun: 0 }
    }

    /// Drawn for each picture anew: a job that failed once may succeed the next time.
    fn fate(&mut self, request: u64, steps: u32) -> Fate {
        self.begun += 1;
        let drawn = mix(self.script.seed ^ mix(request ^ mix(self.begun)));
        let at = mix(drawn) as u32 % steps.max(1);
        let share = drawn as f64 / u64::MAX as f64;
        match () {
            () if share < self.script.fail => Fate::Failure(at),
            () if share < self.script.fail + self.script.panic => Fate::Panic(at),
            () => Fate::Picture,
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

    fn is_scripted(&self) -> bool {
        true
    }

    fn self_test(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn footprint(&self, _: &Request) -> Footprint {
        Footprint::default()
    }

    fn cache(&self) -> CacheCounts {
        CacheCounts::default()
    }

    fn encode(&mut self, request: &Request) -> Result<ScriptedSample, Error> {
        thread::sleep(self.script.encode);
        let digest = request.digest();
        let state = digest.bytes().fold(0, |state, byte| mix(state ^ u64::from(byte)));
        let steps = Steps { done: 0, of: request.steps };
        Ok(ScriptedSample { state, steps, fate: self.fate(state, steps.of) })
    }

    fn steps(&self, sample: &ScriptedSample) -> Steps {
        sample.steps
    }

    fn step(&mut self, sample: &mut ScriptedSample) -> Result<(), Error> {
        if sample.steps.is_done() {
            return Ok(());
        }
        thread::sleep(self.script.step);
        match sample.fate {
            Fate::Failure(at) if at <= sample.steps.done => return Err(Error::Scripted),
            Fate::Panic(at) if at <= sample.steps.done => panic!("the script says so"),
            _ => {}
        }
        sample.state = mix(sample.state ^ u64::from(sample.steps.done));
        sample.steps.done += 1;
        Ok(())
    }

    fn preview(&self, sample: &ScriptedSample) -> Result<Option<Image>, Error> {
        const SIDE: u32 = 8;
        Ok((sample.steps.done > 0).then(|| noise(sample.state, SIDE)))
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

    fn decode(&mut self, sample: &ScriptedSample) -> Result<Image, Error> {
        thread::sleep(self.script.decode);
        Ok(noise(sample.state, self.script.size))
    }
}

/// A square that only `state` decides.
fn noise(state: u64, side: u32) -> Image {
    let values = 3 * side as usize * side as usize;
    let words = (0..).flat_map(|i: u64| mix(state ^ mix(i)).to_le_bytes());
    Image { width: side, height: side, rgb: words.take(values).collect() }
}

/// SplitMix64: one number into another that has nothing to do with it (Steele, Lea and Flood, 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
