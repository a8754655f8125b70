//! How long a failed job waits before its next attempt.

use std::time::Duration;

use crate::random::random_u32;

/// Exponential backoff with full jitter: a random time up to a limit that doubles with each attempt,
/// so that jobs which failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The limit after the first attempt.
    pub base: Duration,
    /// The limit never exceeds this.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(2), cap: Duration::from_secs(120) }
    }
}

impl Backoff {
    /// The longest wait after attempt `attempt`, counted from 1.
    pub fn limit(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A random wait within the limit.
    pub(crate) fn random_wait(&self, attempt: u32) -> Duration {
        self.limit(attempt).mul_f64(f64::from(random_u32()) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_double_up_to_the_cap() {
        let backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(10) };
        let limits: Vec<u64> = [1, 2, 3, 4, 100].map(|attempt| backoff.limit(attempt).as_secs()).to_vec();
        assert_eq!(limits, [2, 4, 8, 10, 10]);
    }

    #[test]
    fn waits_are_spread_over_the_whole_limit() {
        let backoff = Backoff { base: Duration::from_secs(8), cap: Duration::from_secs(8) };
        let waits: Vec<Duration> = (0..400).map(|_| backoff.random_wait(1)).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(8)));
        for quarter in 0..4 {
            let within = Duration::from_secs(2 * quarter)..Duration::from_secs(2 * quarter + 2);
            let count = waits.iter().filter(|wait| within.contains(*wait)).count();
            assert!((50..150).contains(&count), "{count} of 400 in {within:?}");
        }
    }
}
