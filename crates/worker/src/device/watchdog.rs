//! Notices a device that hangs: what it is at takes longer than anything of its kind may.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Activity;

/// How many times the longest of its size a step may take.
const TIMES_THE_LONGEST: u32 = 5;

/// How many times its estimate anything else may take.
const TIMES_THE_ESTIMATE: u32 = 10;

/// Sizes that are remembered. With more, all are forgotten and learned anew.
const MOST_SIZES: usize = 1000;

/// How long the device may take before it counts as stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// At least this for a step, a preview or a copy of a size of which there was one before.
    pub step: Duration,
    /// At least this for all that is done for the first time, for encoding and for decoding: a step on a processor may
    /// take minutes.
    pub first: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { step: Duration::from_secs(60), first: Duration::from_secs(600) }
    }
}

/// Size of what the device works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Size {
    /// Working memory of a sample in bytes.
    pub(super) bytes: u64,
    /// Samples that are stepped together.
    pub(super) samples: u32,
}

impl Size {
    /// That of one sample.
    pub(super) fn of(bytes: u64) -> Self {
        Self { bytes, samples: 1 }
    }
}

/// What each activity may take, learned from those before.
pub(super) struct Limits {
    patience: Patience,
    longest: HashMap<(Activity, Size), Duration>,
}

impl Limits {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, longest: HashMap::new() }
    }

    /// What this may take; `expected` is the estimate where there is one.
    pub(super) fn of(&self, activity: Activity, size: Size, expected: Option<Duration>) -> Duration {
        let known = |size| self.longest.get(&(activity, size)).copied();
        let longest = known(size);
        let is_short = !matches!(activity, Activity::Encode | Activity::Decode);
        match longest {
            Some(longest) if is_short => self.patience.step.max(longest * TIMES_THE_LONGEST),
            _ => {
                let one_by_one = known(Size { samples: 1, ..size }).map(|longest| longest * size.samples);
                let estimate = expected.max(longest).max(one_by_one).unwrap_or_default();
                (self.patience.first * size.samples).max(estimate * TIMES_THE_ESTIMATE)
            }
        }
    }

    /// Takes note of what something took that has ended well.
    pub(super) fn note(&mut self, activity: Activity, size: Size, took: Duration) {
        if self.longest.len() >= MOST_SIZES {
            self.longest.clear();
        }
        let longest = self.longest.entry((activity, size)).or_default();
        *longest = took.max(*longest);
    }
}

/// What the device is at: written by its thread, read by whoever looks at it.
#[derive(Debug, Default)]
pub(super) struct Watchdog(Mutex<Option<AtWork>>);

#[derive(Debug)]
struct AtWork {
    left: Duration,
    stuck: Vec<CancellationToken>,
}

impl Watchdog {
    /// Something begins that may take `limit`; if it takes longer, `stuck` of all samples in it are cancelled.
    pub(super) fn begin<'a>(&self, limit: Duration, stuck: impl IntoIterator<Item = &'a CancellationToken>) {
        *self.lock() = Some(AtWork { left: limit, stuck: stuck.into_iter().cloned().collect() });
    }

    /// It has ended.
    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    /// Whether the device hangs, now that so much time has passed. Whoever looks counts it: while this process is
    /// stopped, or the machine sleeps, the device does not hang.
    pub(super) fn look(&self, passed: Duration) -> bool {
        let mut at_work = self.lock();
        let Some(AtWork { left, stuck }) = at_work.as_mut() else { return false };
        *left = left.saturating_sub(passed);
        if left.is_zero() {
            stuck.iter().for_each(CancellationToken::cancel);
        }
        left.is_zero()
    }

    fn lock(&self) -> MutexGuard<'_, Option<AtWork>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_step_may_take_several_times_the_longest_of_its_size() {
        let mut limits = Limits::new(Patience::default());
        let step =
            |limits: &Limits, bytes, expected| limits.of(Activity::Step, Size::of(bytes), expected).as_secs();
        assert_eq!(step(&limits, 1, None), 600, "the first");
        assert_eq!(step(&limits, 1, Some(200 * SECOND)), 2000, "a slow processor");
        limits.note(Activity::Step, Size::of(1), 2 * SECOND);
        assert_eq!(step(&limits, 1, Some(200 * SECOND)), 60);
        limits.note(Activity::Step, Size::of(1), 40 * SECOND);
        limits.note(Activity::Step, Size::of(1), 2 * SECOND);
        assert_eq!(step(&limits, 1, None), 200);
        assert_eq!(step(&limits, 2, None), 600, "another size");
    }

    #[test]
    fn encoding_and_decoding_always_have_time() {
        let mut limits = Limits::new(Patience::default());
        for activity in [Activity::Encode, Activity::Decode] {
            limits.note(activity, Size::of(1), SECOND);
            assert_eq!(limits.of(activity, Size::of(1), None).as_secs(), 600);
            limits.note(activity, Size::of(1), 100 * SECOND);
            assert_eq!(limits.of(activity, Size::of(1), None).as_secs(), 1000);
        }
    }

    #[test]
    fn a_step_of_several_samples_has_more_time_until_there_was_one() {
        let mut limits = Limits::new(Patience::default());
        let three = Size { bytes: 1, samples: 3 };
        let step = |limits: &Limits, size| limits.of(Activity::Step, size, None).as_secs();
        assert_eq!(step(&limits, three), 1800);
        limits.note(Activity::Step, Size::of(1), 100 * SECOND);
        assert_eq!(step(&limits, three), 3000, "ten times one after another");
        limits.note(Activity::Step, three, 200 * SECOND);
        assert_eq!((step(&limits, three), step(&limits, Size::of(1))), (1000, 500));
    }

    #[test]
    fn only_what_goes_on_can_hang() {
        let (watchdog, stuck) = (Watchdog::default(), CancellationToken::new());
        assert!(!watchdog.look(9 * SECOND), "nothing goes on");
        watchdog.begin(2 * SECOND, [&stuck]);
        assert!(!watchdog.look(SECOND) && !stuck.is_cancelled());
        watchdog.end();
        let beside = CancellationToken::new();
        watchdog.begin(2 * SECOND, [&stuck, &beside]);
        assert!(!watchdog.look(SECOND), "each has its own time");
        assert!(watchdog.look(SECOND) && stuck.is_cancelled() && beside.is_cancelled());
    }
}
