//! When rows will be done.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use uso_queue::{Rejection, Window};

/// Nights that a plan looks ahead.
const NIGHTS: usize = 3660;

/// What the time of a step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Size {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Longest side of the content reference in pixels; 0 without one.
    pub content_size: u32,
    /// Style references.
    pub styles: u32,
}

impl Size {
    /// Pixels of the picture.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Who works on it, how fast, and when.
pub struct Fleet<'a> {
    /// Seconds a sampling step on one worker, as measured; none where nobody has.
    pub step_seconds: &'a dyn Fn(&Size) -> Option<f64>,
    /// Seconds of the device a row beside its steps, as measured: encoding, decoding; none where nobody has.
    pub other_seconds: Option<f64>,
    /// Bytes of a picture's file for each of its pixels, as measured; none where nobody has.
    pub bytes_per_pixel: Option<f64>,
    /// Workers that there are.
    pub live_workers: u32,
    /// Workers that you think of.
    pub workers: u32,
    /// Rows that are queued or done, but not packed yet, at most.
    pub staged_rows: u64,
    /// S3 requests a picture beside references and chunks; see [`REQUESTS_PER_PICTURE`](super::REQUESTS_PER_PICTURE).
    pub requests_per_picture: f64,
    /// The time.
    pub now: Timestamp,
    /// When bulk work may run; at all times without one. That it may fill idle hours outside (`fill`) is not counted:
    /// nobody knows when interactive work comes.
    pub window: Option<Window>,
    /// When all must be done.
    pub deadline: Option<Timestamp>,
}

/// How long it takes with some workers, if rows are spread evenly.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wall {
    /// The workers.
    pub workers: u32,
    /// Seconds of work: device seconds by workers, and not less than the longest row.
    pub seconds: f64,
    /// When it is done if it begins now and only the window's hours count; null beyond ten years.
    pub ends: Option<Timestamp>,
    /// Windows that it needs, the one under way included; 0 without a window.
    pub windows: u32,
    /// Whether it ends before the deadline; null without one.
    pub in_time: Option<bool>,
}

/// Workers that end it in time, if rows are spread evenly.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkersNeeded {
    /// To end in what is left of the window that is under way, or in the next; null without a window, and if its longest
    /// row does not fit.
    pub window: Option<u64>,
    /// To end before the deadline; null without one, and if no number is enough.
    pub deadline: Option<u64>,
}

/// Rows of one size.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) rows: u64,
    steps: u64,
    /// Most steps of a row.
    longest: u32,
}

impl Load {
    pub(super) fn add(&mut self, steps: u32) {
        self.rows += 1;
        self.steps += u64::from(steps);
        self.longest = self.longest.max(steps);
    }
}

/// All times of a plan.
#[derive(Default)]
pub(super) struct Times {
    pub(super) device_seconds: Option<f64>,
    pub(super) unknown: Vec<Size>,
    pub(super) live: Option<Wall>,
    pub(super) asked: Option<Wall>,
    pub(super) needed: Option<WorkersNeeded>,
}

impl Times {
    /// Whether the workers there are will be done by a time, if that is known.
    pub(super) fn by(&self, time: Timestamp) -> Option<bool> {
        let live = self.live.as_ref()?;
        Some(live.ends.is_some_and(|ends| ends <= time))
    }
}

/// Device seconds of all rows, and of the longest row.
struct Work {
    seconds: f64,
    longest: f64,
}

pub(super) fn of(sizes: &BTreeMap<Size, Load>, fleet: &Fleet<'_>) -> Result<Times, Rejection> {
    let mut unknown = Vec::new();
    let mut work = Work { seconds: 0.0, longest: 0.0 };
    let other = fleet.other_seconds.unwrap_or(0.0);
    for (size, load) in sizes {
        match (fleet.step_seconds)(size) {
            None => unknown.push(*size),
            Some(step) => {
                work.seconds += load.steps as f64 * step + load.rows as f64 * other;
                work.longest = work.longest.max(f64::from(load.longest) * step + other);
            }
        }
    }
    if !unknown.is_empty() || fleet.other_seconds.is_none() {
        return Ok(Times { unknown, ..Times::default() });
    }
    Ok(Times {
        device_seconds: Some(work.seconds),
        unknown,
        live: work.with(fleet.live_workers, fleet)?,
        asked: work.with(fleet.workers, fleet)?,
        needed: Some(work.workers_needed(fleet)?),
    })
}

impl Work {
    fn with(&self, workers: u32, fleet: &Fleet<'_>) -> Result<Option<Wall>, Rejection> {
        if workers == 0 {
            return Ok(None);
        }
        let seconds = (self.seconds / f64::from(workers)).max(self.longest);
        let (ends, windows) = end(fleet, seconds)?;
        let in_time = fleet.deadline.map(|deadline| ends.is_some_and(|ends| ends <= deadline));
        Ok(Some(Wall { workers, seconds, ends, windows, in_time }))
    }

    fn workers_needed(&self, fleet: &Fleet<'_>) -> Result<WorkersNeeded, Rejection> {
        let within = |available: f64| {
            let enough = available > 0.0 && self.longest <= available;
            enough.then(|| (self.seconds / available).ceil().max(1.0) as u64)
        };
        let window = match &fleet.window {
            None => None,
            Some(window) => {
                let (opens, closes) = window.next(fleet.now)?;
                within(seconds_between(opens.max(fleet.now), closes))
            }
        };
        let deadline = match fleet.deadline {
            None => None,
            Some(deadline) => within(seconds_until(fleet, deadline)?),
        };
        Ok(WorkersNeeded { window, deadline })
    }
}

/// When work of this many seconds is done, and how many windows it takes.
fn end(fleet: &Fleet<'_>, seconds: f64) -> Result<(Option<Timestamp>, u32), Rejection> {
    let after = |time: Timestamp, seconds: f64| {
        // More than a timestamp can hold is never.
        let span = SignedDuration::try_from_secs_f64(seconds).ok()?;
        time.checked_add(span).ok()
    };
    let Some(window) = &fleet.window else { return Ok((after(fleet.now, seconds), 0)) };
    let (mut time, mut left, mut windows) = (fleet.now, seconds, 0);
    for _ in 0..NIGHTS {
        let (opens, closes) = window.next(time)?;
        let start = opens.max(time);
        let open = seconds_between(start, closes);
        windows += 1;
        if left <= open {
            return Ok((after(start, left), windows));
        }
        left -= open;
        time = closes;
    }
    Ok((None, windows))
}

/// Seconds until a deadline in which bulk work may run.
fn seconds_until(fleet: &Fleet<'_>, deadline: Timestamp) -> Result<f64, Rejection> {
    let Some(window) = &fleet.window else { return Ok(seconds_between(fleet.now, deadline)) };
    let (mut time, mut seconds) = (fleet.now, 0.0);
    for _ in 0..NIGHTS {
        if time >= deadline {
            break;
        }
        let (opens, closes) = window.next(time)?;
        seconds += seconds_between(opens.max(time), closes.min(deadline)).max(0.0);
        time = closes;
    }
    Ok(seconds)
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
