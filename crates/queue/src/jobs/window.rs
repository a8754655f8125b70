//! The nightly window: when bulk work may start.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::codec::{json, to_json};
use crate::reply::Reply;
use crate::{Error, Queue, Rejection};

/// A part of each day, by the clocks of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// From this time on bulk work is claimed.
    pub opens: Time,
    /// At this time it is handed back; on the next day, if it is before the opening.
    pub closes: Time,
    /// The place's name in the IANA database, for example `Europe/Berlin`.
    pub zone: String,
    /// Whether bulk work is claimed outside too, as long as no interactive work waits.
    #[serde(default)]
    pub fill: bool,
}

/// A window and its next times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowView {
    /// What an operator has set.
    #[serde(flatten)]
    pub window: Window,
    /// When it opens next, or has opened.
    pub next_opens: Timestamp,
    /// When it closes after that.
    pub next_closes: Timestamp,
}

impl Window {
    /// The opening and closing that are under way at `now`, or come next. Where daylight saving leaves a
    /// time out, the clocks' next time counts; where a time comes twice, its first.
    ///
    /// # Errors
    /// [`Rejection::Window`] for an unknown zone, and for a window that never closes.
    pub fn next(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Rejection> {
        let refuse = |error: jiff::Error| Rejection::Window(error.to_string());
        if self.opens == self.closes {
            return Err(Rejection::Window(format!("it opens and closes at {}", self.opens)));
        }
        let zone = TimeZone::get(&self.zone).map_err(refuse)?;
        let mut day = zone.to_datetime(now).date().yesterday().map_err(refuse)?;
        loop {
            let (opens, closes) = self.on(day, &zone).map_err(refuse)?;
            if closes > now && closes > opens {
                return Ok((opens, closes));
            }
            day = day.tomorrow().map_err(refuse)?;
        }
    }

    /// Its times when it opens on `day`.
    fn on(&self, day: Date, zone: &TimeZone) -> Result<(Timestamp, Timestamp), jiff::Error> {
        let last = if self.closes < self.opens { day.tomorrow()? } else { day };
        let at = |day: Date, time: Time| zone.to_timestamp(day.to_datetime(time));
        Ok((at(day, self.opens)?, at(last, self.closes)?))
    }
}

impl Queue {
    /// Sets the window of bulk work, or removes it: then bulk work is claimed at all times. While it is
    /// closed, workers are asked to hand back what bulk work they hold.
    ///
    /// # Errors
    /// [`Error::Rejected`] as [`Window::next`]; [`Error::Unreachable`].
    pub async fn set_window(&self, window: Option<&Window>) -> Result<(), Error> {
        for shard in self.shards() {
            let Some(window) = window else {
                let mut remove = self.function(shard, "window");
                remove.arg("").arg("").arg("").arg(0).arg(0);
                let _: u8 = self.0.connection.call(&remove).await?;
                continue;
            };
            let now: i64 = self.0.connection.call(&self.function(shard, "clock")).await?;
            self.write_window(shard, window, &to_json(window)?, now, false).await?;
        }
        Ok(())
    }

    /// The window of bulk work, if one is set.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn window(&self) -> Result<Option<WindowView>, Error> {
        // Every shard has the same.
        let value: Value = self.0.connection.call(&self.function(0, "window_view")).await?;
        let Some(mut reply) = Reply::of(value)? else { return Ok(None) };
        let window = json(&reply.next::<String>()?)?;
        let mut time = || timestamp(reply.next()?);
        Ok(Some(WindowView { window, next_opens: time()?, next_closes: time()? }))
    }

    /// Works out the next times of a window whose last have passed.
    pub(crate) async fn renew_window(&self, shard: u16, now_ms: i64, text: &str) -> Result<(), Error> {
        self.write_window(shard, &json(text)?, text, now_ms, true).await
    }

    async fn write_window(
        &self,
        shard: u16,
        window: &Window,
        text: &str,
        now_ms: i64,
        unchanged: bool,
    ) -> Result<(), Error> {
        let (opens, closes) = window.next(timestamp(now_ms)?)?;
        let mut write = self.function(shard, "window");
        write.arg(text).arg(opens.as_millisecond()).arg(closes.as_millisecond());
        write.arg(u8::from(window.fill)).arg(u8::from(unchanged));
        let _: u8 = self.0.connection.call(&write).await?;
        Ok(())
    }
}

fn timestamp(ms: i64) -> Result<Timestamp, Error> {
    Timestamp::from_millisecond(ms).map_err(|error| Error::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(opens: &str, closes: &str, zone: &str) -> Window {
        Window {
            opens: opens.parse().unwrap(),
            closes: closes.parse().unwrap(),
            zone: zone.into(),
            fill: false,
        }
    }

    fn next(window: &Window, now: &str) -> (String, String) {
        let (opens, closes) = window.next(now.parse().unwrap()).unwrap();
        (opens.to_string(), closes.to_string())
    }

    fn times(opens: &str, closes: &str) -> (String, String) {
        (opens.to_owned(), closes.to_owned())
    }

    #[test]
    fn a_window_that_is_open_is_the_one_under_way() {
        let night = window("22:00", "06:00", "UTC");
        let first = times("2026-01-10T22:00:00Z", "2026-01-11T06:00:00Z");
        for now in ["2026-01-10T12:00:00Z", "2026-01-10T22:00:00Z", "2026-01-11T05:59:59Z"] {
            assert_eq!(next(&night, now), first, "{now}");
        }
        let second = times("2026-01-11T22:00:00Z", "2026-01-12T06:00:00Z");
        assert_eq!(next(&night, "2026-01-11T06:00:00Z"), second);
        let noon = window("12:00", "13:00", "UTC");
        assert_eq!(
            next(&noon, "2026-01-10T12:30:00Z"),
            times("2026-01-10T12:00:00Z", "2026-01-10T13:00:00Z")
        );
    }

    #[test]
    fn the_clocks_of_the_place_count_also_when_they_are_moved() {
        let night = window("22:00", "06:00", "Europe/Berlin");
        // Clocks go from 02:00 to 03:00: a night of seven hours.
        assert_eq!(
            next(&night, "2026-03-28T12:00:00Z"),
            times("2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z")
        );
        // Clocks go from 03:00 back to 02:00: one of nine.
        assert_eq!(
            next(&night, "2026-10-24T12:00:00Z"),
            times("2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z")
        );
    }

    #[test]
    fn times_that_do_not_exist_or_come_twice_are_settled() {
        let gap = window("02:15", "02:45", "Europe/Berlin");
        assert_eq!(next(&gap, "2026-03-28T12:00:00Z"), times("2026-03-29T01:15:00Z", "2026-03-29T01:45:00Z"));
        // It would open at 03:30, after it has closed: not on this day.
        let backwards = window("02:30", "03:15", "Europe/Berlin");
        assert_eq!(
            next(&backwards, "2026-03-28T12:00:00Z"),
            times("2026-03-30T00:30:00Z", "2026-03-30T01:15:00Z")
        );
        let twice = window("02:15", "02:45", "Europe/Berlin");
        assert_eq!(
            next(&twice, "2026-10-24T12:00:00Z"),
            times("2026-10-25T00:15:00Z", "2026-10-25T00:45:00Z")
        );
    }

    #[test]
    fn a_window_that_cannot_be_is_refused() {
        let now = Timestamp::UNIX_EPOCH;
        for broken in [window("22:00", "22:00", "UTC"), window("22:00", "06:00", "Europe/Atlantis")] {
            assert!(matches!(broken.next(now), Err(Rejection::Window(_))), "{broken:?}");
        }
    }
}
