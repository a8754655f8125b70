//! Where in the list of ended rows a page begins.

use axum::http::StatusCode;
use uso_dataset::run::find_segment;
use uso_queue::{BatchId, Queue, SegmentView, State};
use uso_store::Store;

use super::ended::{self, EndedRow};
use crate::problem::Problem;

/// Segments that one call asks for.
const PAGE: u64 = 1000;
/// Segments in no index that are read to find a row, the newest first: rows end nearly in the order in which they were
/// queued, so few segments may have one.
const MOST_SOUGHT: usize = 40;

/// A place in the list of rows in some state, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// A segment, and a line in it.
    pub(super) at: (u64, u64),
    /// Rows of the list from there on that lie before the place.
    pub(super) passed: usize,
    /// Rows of the list before the place, and of the whole list; none if it takes reading to know.
    pub(super) before: Option<u64>,
    pub(super) total: Option<u64>,
}

/// The segments of a data set, and which rows of them are listed.
pub(super) struct Segments {
    segments: Vec<SegmentView>,
    state: Option<State>,
}

impl Segments {
    /// Asks the queue. In the list are rows in `state`, or all.
    pub(super) async fn of(
        queue: &Queue,
        batch: &BatchId,
        state: Option<State>,
    ) -> Result<Self, uso_queue::Error> {
        let mut segments = Vec::new();
        loop {
            let page = queue.dataset_segments(batch, segments.len() as u64, PAGE).await?;
            let is_last = (page.len() as u64) < PAGE;
            segments.extend(page);
            if is_last {
                return Ok(Self { segments, state });
            }
        }
    }

    /// How many rows of a segment are listed; none if it takes reading to know.
    fn listed(&self, segment: &SegmentView) -> Option<u64> {
        match self.state {
            None => Some(segment.outcomes),
            Some(State::Succeeded) => Some(segment.accepted),
            Some(_) => None,
        }
    }

    /// Rows of the list in the first `count` segments.
    fn listed_in(&self, count: usize) -> Option<u64> {
        self.segments.iter().take(count).map(|segment| self.listed(segment)).sum()
    }

    /// The place behind so many rows of the list, or its end; none if it takes reading to know.
    pub(super) fn behind(&self, rows: u64) -> Option<Place> {
        let total = self.listed_in(self.segments.len())?;
        let rows = rows.min(total);
        let (mut before, mut at) = (0, self.segments.len());
        for (number, segment) in self.segments.iter().enumerate() {
            let listed = self.listed(segment)?;
            if before + listed > rows {
                at = number;
                break;
            }
            before += listed;
        }
        let passed = (rows - before) as usize;
        Some(Place { at: (at as u64, 0), passed, before: Some(rows), total: Some(total) })
    }

    /// The place of a row's last end, where so many segments are `indexed`.
    ///
    /// # Errors
    /// `no_such_row`; that queue or store do not answer.
    pub(super) async fn of_row(
        &self,
        (queue, store): (&Queue, &Store),
        batch: &BatchId,
        indexed: u64,
        row: u64,
    ) -> Result<Place, Problem> {
        let newest = self.segments.iter().enumerate().skip(indexed as usize).rev();
        let may_have = newest.filter(|(_, segment)| (segment.lowest..=segment.highest).contains(&row));
        let mut sought: Vec<_> = may_have.take(MOST_SOUGHT).collect();
        if indexed > 0
            && let Some(number) = find_segment(queue, store, batch, row).await?
        {
            sought.extend(self.segments.get(number as usize).map(|segment| (number as usize, segment)));
        }
        for (number, segment) in sought {
            let rows = ended::read(store, batch, number as u64, segment).await?;
            let Some(line) = last_end(&rows, row) else { continue };
            let is_listed = |state| self.state.is_none_or(|wanted| wanted == state);
            let here = rows[..line].iter().filter(|ended| is_listed(ended.state)).count() as u64;
            return Ok(Place {
                at: (number as u64, line as u64),
                passed: 0,
                before: self.listed_in(number).map(|before| before + here),
                total: self.listed_in(self.segments.len()),
            });
        }
        Err(no_such_row(format!("row {row} has not ended, or its end is not listed yet")))
    }
}

/// The line of a row's last end in a segment: one that was retried at once has several there.
fn last_end(rows: &[EndedRow], row: u64) -> Option<usize> {
    rows.iter().rposition(|ended| ended.row == row)
}

pub(super) fn no_such_row(detail: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_row", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_by_how_many_rows_come_before() {
        let segment =
            |outcomes, accepted| SegmentView { fence: 1, outcomes, accepted, lowest: 0, highest: 9 };
        let segments = vec![segment(3, 2), segment(2, 0), segment(4, 4)];
        let of = |state| Segments { segments: segments.clone(), state };
        let place = |state, rows| {
            let place = of(state).behind(rows).unwrap();
            (place.at.0, place.passed, place.before.unwrap(), place.total.unwrap())
        };
        let found: Vec<_> = [0, 1, 2, 5, 6, 99].map(|rows| place(Some(State::Succeeded), rows)).to_vec();
        assert_eq!(
            found,
            [(0, 0, 0, 6), (0, 1, 1, 6), (2, 0, 2, 6), (2, 3, 5, 6), (3, 0, 6, 6), (3, 0, 6, 6)]
        );
        let found: Vec<_> = [0, 3, 4, 8].map(|rows| place(None, rows)).to_vec();
        assert_eq!(found, [(0, 0, 0, 9), (1, 0, 3, 9), (1, 1, 4, 9), (2, 3, 8, 9)]);
        assert_eq!(of(Some(State::Failed)).behind(0), None);
    }

    #[test]
    fn of_a_row_that_was_retried_at_once_the_last_end_is_found() {
        let ended = |row, state| EndedRow { row, key: format!("r{row}"), state, error: None };
        let rows = [ended(1, State::Failed), ended(2, State::Failed), ended(1, State::Succeeded)];
        assert_eq!([1, 2, 3].map(|row| last_end(&rows, row)), [Some(2), Some(1), None]);
    }
}
