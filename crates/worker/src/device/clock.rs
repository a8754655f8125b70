//! Where the device's time goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the device does at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Waits for work.
    Idle,
    /// Turns text and references into features.
    Encode,
    /// Samples.
    Step,
    /// Makes a small picture of a sample under way.
    Preview,
    /// Copies a sample to the host.
    Checkpoint,
    /// Turns a latent into pixels.
    Decode,
}

impl Activity {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Encode, Self::Step, Self::Preview, Self::Checkpoint, Self::Decode];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Encode => "encode",
            Self::Step => "step",
            Self::Preview => "preview",
            Self::Checkpoint => "checkpoint",
            Self::Decode => "decode",
        }
    }
}

/// Time by activity since the device's start, and what is measured along with it.
#[derive(Debug, Default)]
pub struct Clock {
    nanoseconds: [AtomicU64; Activity::ALL.len()],
    times: [AtomicU64; Activity::ALL.len()],
    /// A recent mean, in nanoseconds; 0 before the first step.
    step: AtomicU64,
}

impl Clock {
    /// Time spent on an activity so far; one that goes on now counts when it ends.
    pub fn spent(&self, activity: Activity) -> Duration {
        Duration::from_nanos(self.nanoseconds[activity as usize].load(Ordering::Relaxed))
    }

    /// How often it was done.
    pub fn times(&self, activity: Activity) -> u64 {
        self.times[activity as usize].load(Ordering::Relaxed)
    }

    /// What a step takes lately; none before the first.
    pub fn step(&self) -> Option<Duration> {
        let step = self.step.load(Ordering::Relaxed);
        (step > 0).then(|| Duration::from_nanos(step))
    }

    /// Counts what was done since `begun` and gives how long it took.
    pub(super) fn count(&self, activity: Activity, begun: Instant) -> Duration {
        self.count_several(activity, 1, begun)
    }

    /// The same for something that was done for several samples at once. Each step counts with its part of the time.
    pub(super) fn count_several(&self, activity: Activity, samples: usize, begun: Instant) -> Duration {
        let (spent, samples) = (begun.elapsed(), samples.max(1) as u64);
        let nanoseconds = spent.as_nanos() as u64;
        self.nanoseconds[activity as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        self.times[activity as usize].fetch_add(samples, Ordering::Relaxed);
        if activity == Activity::Step {
            let nanoseconds = nanoseconds / samples;
            let before = self.step.load(Ordering::Relaxed);
            let mean = if before == 0 { nanoseconds } else { before - before / 8 + nanoseconds / 8 };
            self.step.store(mean.max(1), Ordering::Relaxed);
        }
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_steps_follows_them() {
        let clock = Clock::default();
        assert_eq!(clock.step(), None);
        let ago = |milliseconds| Instant::now() - Duration::from_millis(milliseconds);
        clock.count(Activity::Step, ago(800));
        assert!(clock.step().unwrap() >= Duration::from_millis(800));
        for _ in 0..100 {
            clock.count(Activity::Step, ago(80));
        }
        assert!((80..100).contains(&clock.step().unwrap().as_millis()), "{:?}", clock.step());
        assert_eq!(clock.times(Activity::Step), 101);
        let together = clock.count_several(Activity::Step, 4, ago(320));
        assert!((320..1000).contains(&together.as_millis()), "all of it");
        assert!((80..100).contains(&clock.step().unwrap().as_millis()), "{:?}", clock.step());
        assert_eq!(clock.times(Activity::Step), 105);
        assert_eq!(clock.spent(Activity::Idle), Duration::ZERO);
    }
}
