//! The script of a scripted engine.

use std::str::FromStr;
use std::time::Duration;

/// How a [`Scripted`](super::Scripted) engine behaves, written as `step=40ms,fail=0.01`. What is left out takes no time
/// and no memory and does not fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Time to prepare a request.
    pub encode: Duration,
    /// Time of a step.
    pub step: Duration,
    /// Part of `step` that each further sample adds to a step of several together; none if they are stepped alone.
    pub joint: Option<f64>,
    /// Time to turn a sample into a picture.
    pub decode: Duration,
    /// Time of a preview.
    pub preview: Duration,
    /// Share of pictures that fail at one of their steps.
    pub fail: f64,
    /// Share of pictures that panic at one of their steps.
    pub panic: f64,
    /// Share of pictures whose numbers are not finite after their last step.
    pub nan: f64,
    /// Share of pictures with a single colour.
    pub flat: f64,
    /// Share of requests that run out of memory at one of their steps, on every attempt.
    pub oom: f64,
    /// Seed of the choice of these pictures.
    pub seed: u64,
    /// Side of a picture in pixels.
    pub size: u32,
    /// Bytes free for samples; none if the engine cannot tell.
    pub memory: Option<u64>,
    /// Bytes that a sample of 1024x1024 pixels holds; other sizes in proportion to their pixels.
    pub kept: u64,
    /// Additional bytes while the engine works on it.
    pub working: u64,
    /// Bytes of features of prompts and references that are remembered; each counts as one MiB.
    pub cache: u64,
    /// Most samples that may exist at once; with more, steps run out of memory.
    pub crowd: Option<u64>,
    /// Share of requests for which the device hangs for ever, at one of their steps after the first.
    pub hang: f64,
    /// Whether the self-test fails.
    pub selftest_fails: bool,
    /// Names of the LoRAs that requests may ask for.
    pub loras: Vec<String>,
    /// Names of the scorers that jobs may ask for; their scores are made up, see [`score`](super::score).
    pub scorers: Vec<String>,
}

impl Default for Script {
    fn default() -> Self {
        let instant = Duration::ZERO;
        Self {
            encode: instant,
            step: instant,
            joint: None,
            decode: instant,
            preview: instant,
            fail: 0.0,
            panic: 0.0,
            nan: 0.0,
            flat: 0.0,
            oom: 0.0,
            hang: 0.0,
            seed: 0,
            size: 16,
            memory: None,
            kept: 0,
            working: 0,
            cache: 512 << 20,
            crowd: None,
            selftest_fails: false,
            loras: Vec::new(),
            scorers: Vec::new(),
        }
    }
}

/// A text that is not a [`Script`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not one of encode=, step=, decode=, preview= with a time like 40ms; fail=, panic=, nan=, flat=, oom=, \
     hang=, joint= with a share like 0.1; memory=, kept=, working=, cache= with bytes like 512M; crowd=, seed=, size= with a number; \
     loras=, scorers= with names like a+b; selftest=fail"
)]
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
            "preview" => self.preview = duration(value)?,
            "joint" => self.joint = Some(share()?),
            "fail" => self.fail = share()?,
            "panic" => self.panic = share()?,
            "nan" => self.nan = share()?,
            "flat" => self.flat = share()?,
            "oom" => self.oom = share()?,
            "hang" => self.hang = share()?,
            "seed" => self.seed = value.parse().ok()?,
            "size" => self.size = value.parse().ok().filter(|size| (2..=4096).contains(size))?,
            "memory" => self.memory = Some(bytes(value)?),
            "kept" => self.kept = bytes(value)?,
            "working" => self.working = bytes(value)?,
            "cache" => self.cache = bytes(value)?,
            "crowd" => self.crowd = Some(value.parse().ok()?),
            "loras" => self.loras = value.split('+').map(str::to_owned).collect(),
            "scorers" => self.scorers = value.split('+').map(str::to_owned).collect(),
            "selftest" if value == "fail" => self.selftest_fails = true,
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

/// Reads `1000`, `512K`, `80M` or `24G`: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.strip_suffix(['K', 'M', 'G']) {
        None => (text, 0),
        Some(number) if text.ends_with('K') => (number, 10),
        Some(number) if text.ends_with('M') => (number, 20),
        Some(number) => (number, 30),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_their_unit() {
        assert_eq!(["7", "7K", "7M", "7G"].map(bytes), [Some(7), Some(7168), Some(7 << 20), Some(7 << 30)]);
        assert_eq!(["", "K", "7T", "-7", "99999999999G"].map(bytes), [None; 5]);
    }
}
