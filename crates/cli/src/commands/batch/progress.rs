//! How fast rows end, and when all have.

use std::collections::VecDeque;
use std::time::Duration;

/// How far it looks back.
const WINDOW: Duration = Duration::from_secs(120);

/// Counts of ended rows over the last two minutes.
#[derive(Default)]
pub(super) struct Pace {
    /// Times since the beginning, and how many rows had ended then.
    seen: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Notes how many rows have ended by now.
    pub(super) fn note(&mut self, now: Duration, ended: u64) {
        // A retry takes rows back.
        if self.seen.back().is_some_and(|(_, before)| *before > ended) {
            self.seen.clear();
        }
        self.seen.push_back((now, ended));
        while self.seen.len() > 2 && self.seen.front().is_some_and(|(then, _)| now - *then > WINDOW) {
            self.seen.pop_front();
        }
    }

    /// Rows a second; none if not known yet.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ((begun, first), (now, last)) = (self.seen.front()?, self.seen.back()?);
        let seconds = (*now - *begun).as_secs_f64();
        (seconds > 0.0).then(|| (last - first) as f64 / seconds)
    }

    /// Seconds until so many more rows have ended; none if nobody knows.
    pub(super) fn seconds_for(&self, rows: u64) -> Option<f64> {
        self.per_second().filter(|rate| *rate > 0.0).map(|rate| rows as f64 / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minutes() {
        let mut pace = Pace::default();
        assert_eq!((pace.per_second(), pace.seconds_for(10)), (None, None));
        for second in 0..300 {
            let ended = if second < 150 { 0 } else { (second - 150) * 2 };
            pace.note(Duration::from_secs(second), ended);
        }
        assert_eq!(pace.per_second(), Some(2.0));
        assert_eq!(pace.seconds_for(100), Some(50.0));
        pace.note(Duration::from_secs(300), 5);
        assert_eq!(pace.per_second(), None, "rows were taken back");
    }
}
