//! When an endpoint that did not take a delivery is tried again.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds from each attempt to the next, as Standard Webhooks recommends.
const PAUSES: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/// How much longer than that a pause may be: endpoints that failed together are not tried together.
const JITTER: f64 = 0.2;

/// The pause after so many attempts, for a `random` from 0 to 1; none if that was the last one.
pub(super) fn after(attempts: u32, random: f64) -> Option<Duration> {
    let index = usize::try_from(attempts.checked_sub(1)?).ok()?;
    let pause = Duration::from_secs(*PAUSES.get(index)?);
    Some(pause.mul_f64(1.0 + JITTER * random))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times of all attempts of a delivery that is never taken.
    fn times(random: f64) -> Vec<u64> {
        let (mut time, mut times) = (Duration::ZERO, vec![0]);
        while let Some(pause) = after(times.len() as u32, random) {
            time += pause;
            times.push(time.as_secs());
        }
        times
    }

    #[test]
    fn ten_attempts_go_on_for_three_days() {
        let expected = [0, 5, 305, 2105, 9305, 27_305, 63_305, 113_705, 185_705, 272_105];
        assert_eq!(times(0.0), expected);
        let late = times(1.0);
        assert_eq!((late.len(), late[1], late[9]), (10, 6, 326_526));
        // The queue keeps a delivery for a week.
        assert!(late[9] < 7 * 24 * HOUR);
        assert_eq!(after(0, 0.0), None);
    }
}
