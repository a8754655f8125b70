//! When a delivery that failed is tried again.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds from each attempt to the next, as Standard Webhooks recommends.
const PAUSES: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/// How much longer a pause may be, as a share: endpoints that failed together are not tried together.
const JITTER: f64 = 0.2;

/// The pause after so many attempts, for a `random` from 0 to 1; none if that was the last one.
pub(super) fn after(attempts: u32, random: f64) -> Option<Duration> {
    let index = usize::try_from(attempts.checked_sub(1)?).ok()?;
    let pause = Duration::from_secs(*PAUSES.get(index)?);
    Some(pause.mul_f64(1.0 + JITTER * random))
}

/// Longest wait that an endpoint can ask for.
const LONGEST: Duration = Duration::from_secs(24 * HOUR);

/// What `Retry-After` asks for at `now_s`, in seconds since 1970: so many seconds, or until a date.
pub(super) fn asked(text: &str, now_s: u64) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse::<u64>().ok().or_else(|| {
        let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
        Some(u64::try_from(until).ok()?.saturating_sub(now_s))
    })?;
    Some(Duration::from_secs(seconds).min(LONGEST)).filter(|asked| !asked.is_zero())
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

    #[test]
    fn an_endpoint_may_ask_for_time_in_seconds_or_until_a_date() {
        let seconds = |text: &str| asked(text, 1_700_000_000).map(|asked| asked.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("Tue, 14 Nov 2023 22:14:20 GMT"), Some(60));
        assert_eq!(seconds("Tue, 14 Nov 2023 22:12:20 GMT"), None, "it is over");
        assert_eq!(seconds("99999999999"), Some(24 * HOUR));
        for bad in ["", "0", "-5", "soon", "1.5"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
