//! Failed rows of data sets, counted by reason out of the segments of their outcomes: a few segments for each request, and
//! each only once.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{BatchId, DatasetView, Queue, SegmentView, State};
use uso_store::Store;

use super::ended::{self, EndedRow};
use crate::problem::Problem;

/// Data sets whose counts this process keeps: a byte for each row up to the last that failed.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");
/// Segments that one request reads.
const MOST_READ: usize = 16;
/// Segments that one request asks the queue for.
const PAGE: u64 = 1000;
/// Reasons that are told apart.
const MOST_REASONS: usize = 100;
/// What the queue notes of a row that has failed.
const FAILED: u8 = 2;
/// What all further ones are called.
const OTHER: &str = "other";
/// The reason of a row without an error.
const UNKNOWN: &str = "unknown";
/// Examples that are kept of a reason: one that was retried and ended well is none any more.
const EXAMPLES: usize = 8;
/// Characters of a message.
const MAX_MESSAGE: usize = 500;

/// Rows that failed for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Reason {
    /// The code of their errors.
    code: String,
    /// How many there are: those whose last end that is counted was this, and that are not being made again.
    rows: u64,
    /// The first of them that is known.
    example: Option<FailedRow>,
}

/// A row that failed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct FailedRow {
    /// Its number in the data set, from 0.
    row: u64,
    /// Its key.
    key: String,
    /// Its error for people, shortened.
    message: String,
}

/// Failed rows by reason, as far as they are counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Reasons {
    /// The most frequent first.
    pub(crate) list: Vec<Reason>,
    /// Of the outcomes that are in segments, how many are counted.
    pub(crate) counted: u64,
}

/// What this process has counted.
pub(crate) struct FailureCounts(Mutex<LruCache<BatchId, Arc<tokio::sync::Mutex<Counts>>>>);

impl FailureCounts {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }

    fn of(&self, batch: &BatchId) -> Arc<tokio::sync::Mutex<Counts>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counts.get_or_insert(*batch, Arc::default))
    }
}

/// Failed rows of a data set by reason; counts some more of what is not counted yet. What cannot be read now is counted by
/// a later request.
pub(crate) async fn count(
    counts: &FailureCounts,
    queue: &Queue,
    store: &Store,
    (batch, view): (&BatchId, &DatasetView),
) -> Reasons {
    let counts = counts.of(batch);
    let mut counts = counts.lock().await;
    if let Err(problem) = count_more(queue, store, (batch, view), &mut counts).await {
        tracing::warn!(%batch, problem.code, problem.detail, "failed rows were not counted by reason");
    }
    let again = made_again(queue, (batch, view), &counts).await.unwrap_or_else(|error| {
        tracing::warn!(%batch, %error, "rows that are being made again count among the failed ones");
        BTreeSet::new()
    });
    counts.reasons(&again)
}

/// Rows whose failure is counted, and that have been queued again since.
async fn made_again(
    queue: &Queue,
    (batch, view): (&BatchId, &DatasetView),
    counts: &Counts,
) -> Result<BTreeSet<u64>, uso_queue::Error> {
    let failed = |place: &u8| *place > 0;
    let Some(first) = counts.places.iter().position(failed).filter(|_| view.pass > 0) else {
        return Ok(BTreeSet::new());
    };
    let places = &counts.places[first..];
    let notes = queue.row_notes(batch, first as u64, places.len() as u64).await?;
    let rows = (first as u64..).zip(places.iter().zip(notes));
    Ok(rows.filter(|(_, (place, note))| failed(place) && *note != FAILED).map(|(row, _)| row).collect())
}

async fn count_more(
    queue: &Queue,
    store: &Store,
    (batch, view): (&BatchId, &DatasetView),
    counts: &mut Counts,
) -> Result<(), Problem> {
    if counts.segments > view.segments {
        // A Redis that took over lost the newest ones.
        *counts = Counts::default();
    }
    let mut read = 0;
    for segment in queue.dataset_segments(batch, counts.segments, PAGE).await? {
        let rows = if counts.is_changed_by(&segment) {
            if read == MOST_READ {
                break;
            }
            read += 1;
            ended::read(store, batch, counts.segments, &segment).await?
        } else {
            Vec::new()
        };
        counts.add(&segment, rows);
    }
    Ok(())
}

/// What is counted of one data set.
#[derive(Default)]
struct Counts {
    /// Segments, from the first on.
    segments: u64,
    /// Outcomes in them.
    outcomes: u64,
    /// For each row up to the last that failed the place of its reason, from 1; 0 if it has not failed at its last end.
    places: Vec<u8>,
    tallies: Vec<Tally>,
}

/// Rows of one reason.
struct Tally {
    code: String,
    rows: u64,
    examples: Vec<FailedRow>,
}

impl Counts {
    /// Whether failed rows are in a segment, or rows that had failed before.
    fn is_changed_by(&self, segment: &SegmentView) -> bool {
        let end = self.places.len().min((segment.highest as usize).saturating_add(1));
        let known = self.places.get(segment.lowest as usize..end).unwrap_or_default();
        segment.accepted < segment.outcomes || known.iter().any(|place| *place > 0)
    }

    /// Adds the next segment with its rows, or with none if nothing is changed by it.
    fn add(&mut self, segment: &SegmentView, rows: Vec<EndedRow>) {
        self.segments += 1;
        self.outcomes += segment.outcomes;
        for row in rows {
            // A row that was retried has another end now.
            self.forget(row.row);
            if row.state == State::Failed {
                self.note(row);
            }
        }
    }

    fn forget(&mut self, row: u64) {
        let Some(place) = self.places.get_mut(row as usize).map(std::mem::take) else { return };
        let Some(tally) = usize::from(place).checked_sub(1).and_then(|at| self.tallies.get_mut(at)) else {
            return;
        };
        tally.rows -= 1;
        tally.examples.retain(|example| example.row != row);
    }

    fn note(&mut self, EndedRow { row, key, error, .. }: EndedRow) {
        let told = error.map(|error| (error.code, error.message));
        let (code, message) = told.unwrap_or_else(|| (UNKNOWN.to_owned(), String::new()));
        let at = self.place_of(code);
        let row_at = row as usize;
        if self.places.len() <= row_at {
            self.places.resize(row_at + 1, 0);
        }
        self.places[row_at] = at as u8 + 1;
        let tally = &mut self.tallies[at];
        tally.rows += 1;
        if tally.examples.len() < EXAMPLES {
            let message = message.chars().take(MAX_MESSAGE).collect();
            tally.examples.push(FailedRow { row, key, message });
        }
    }

    fn place_of(&mut self, code: String) -> usize {
        let code = if self.tallies.len() < MOST_REASONS { code } else { OTHER.to_owned() };
        let known = self.tallies.iter().position(|tally| tally.code == code);
        known.unwrap_or_else(|| {
            self.tallies.push(Tally { code, rows: 0, examples: Vec::new() });
            self.tallies.len() - 1
        })
    }

    /// All reasons, without the rows that are being made `again`.
    fn reasons(&self, again: &BTreeSet<u64>) -> Reasons {
        let mut rows: Vec<u64> = self.tallies.iter().map(|tally| tally.rows).collect();
        for row in again {
            let place = self.places.get(*row as usize).map_or(0, |place| usize::from(*place));
            if let Some(rows) = place.checked_sub(1).and_then(|at| rows.get_mut(at)) {
                *rows -= 1;
            }
        }
        let there = self.tallies.iter().zip(rows).filter(|(_, rows)| *rows > 0);
        let mut list: Vec<Reason> = there
            .map(|(Tally { code, examples, .. }, rows)| Reason {
                code: code.clone(),
                rows,
                example: examples
                    .iter()
                    .filter(|example| !again.contains(&example.row))
                    .min_by_key(|example| example.row)
                    .cloned(),
            })
            .collect();
        list.sort_by(|one, other| other.rows.cmp(&one.rows).then_with(|| one.code.cmp(&other.code)));
        Reasons { list, counted: self.outcomes }
    }
}

#[cfg(test)]
mod tests {
    use uso_queue::Failure;

    use super::*;

    fn ended(row: u64, code: Option<&str>) -> EndedRow {
        let failure = |code: &str| Failure {
            code: code.into(),
            message: format!("{code} happened"),
            ..Failure::default()
        };
        let state = if code.is_some() { State::Failed } else { State::Succeeded };
        EndedRow { row, key: format!("r{row}"), state, error: code.map(failure) }
    }

    fn add(counts: &mut Counts, rows: Vec<EndedRow>) -> bool {
        let accepted = rows.iter().filter(|row| row.error.is_none()).count() as u64;
        let numbers = rows.iter().map(|row| row.row);
        let segment = SegmentView {
            fence: 1,
            outcomes: rows.len() as u64,
            accepted,
            lowest: numbers.clone().min().unwrap(),
            highest: numbers.max().unwrap(),
        };
        let is_read = counts.is_changed_by(&segment);
        counts.add(&segment, if is_read { rows } else { Vec::new() });
        is_read
    }

    fn told(counts: &Counts) -> Vec<(String, u64, Option<u64>)> {
        let list = counts.reasons(&BTreeSet::new()).list.into_iter();
        list.map(|reason| (reason.code, reason.rows, reason.example.map(|row| row.row))).collect()
    }

    #[test]
    fn a_row_counts_by_its_last_end() {
        let mut counts = Counts::default();
        assert!(!add(&mut counts, vec![ended(0, None), ended(1, None)]), "nothing failed in it");
        assert!(add(&mut counts, vec![ended(3, Some("a")), ended(2, Some("b")), ended(5, Some("a"))]));
        assert_eq!(told(&counts), [("a".into(), 2, Some(3)), ("b".into(), 1, Some(2))]);
        // Retried: one ends well, and one for another reason.
        assert!(add(&mut counts, vec![ended(3, None)]));
        assert!(add(&mut counts, vec![ended(5, Some("b"))]));
        assert_eq!(told(&counts), [("b".into(), 2, Some(2))]);
        assert!(!add(&mut counts, vec![ended(3, None), ended(4, None)]));
        assert_eq!(counts.reasons(&BTreeSet::new()).counted, 9);
    }

    #[test]
    fn a_row_that_is_made_again_counts_for_no_reason() {
        let mut counts = Counts::default();
        add(&mut counts, vec![ended(3, Some("a")), ended(2, Some("b")), ended(5, Some("a"))]);
        let reasons = counts.reasons(&BTreeSet::from([2, 3])).list;
        let without: Vec<_> = reasons
            .iter()
            .map(|reason| (reason.code.as_str(), reason.rows, reason.example.as_ref().map(|row| row.row)))
            .collect();
        assert_eq!(without, [("a", 1, Some(5))]);
        assert_eq!(
            told(&counts),
            [("a".into(), 2, Some(3)), ("b".into(), 1, Some(2))],
            "nothing is forgotten"
        );
    }

    #[test]
    fn reasons_are_bounded() {
        let mut counts = Counts::default();
        let rows = (0..1000).map(|row| ended(row, Some(&format!("code-{row}"))));
        add(&mut counts, rows.collect());
        let list = counts.reasons(&BTreeSet::new()).list;
        assert_eq!((list.len(), list[0].code.as_str(), list[0].rows), (MOST_REASONS + 1, OTHER, 900));
        assert!(counts.tallies.iter().all(|tally| tally.examples.len() <= EXAMPLES));
    }
}
