//! Rows that have failed with one code are found in the segments, and marked to be made again.

use uso_queue::{DatasetTask, DatasetView, MAX_MARKED, Queue, State};
use uso_store::Store;

use super::segments;
use crate::{Error, Outcome};

/// Segments that one round reads.
const MOST_READ: u64 = 20;

/// The search for rows that have failed with one code. Whoever takes the task next begins anew: nothing is marked before
/// all segments are read.
pub(super) struct Search {
    code: String,
    /// Outcomes that there were when it began: all of them must be in segments.
    goal: u64,
    /// The next segment to be read.
    next: u64,
    /// A bit for each row: whether its last outcome is a failure with this code.
    found: Vec<u64>,
}

impl Search {
    /// Begins a search, or goes on with the one that there is; none if nobody asks for one.
    pub(super) fn of(search: Option<Self>, view: &DatasetView) -> Option<Self> {
        let code = view.retries.as_ref()?;
        let goal = view.archived + view.waiting;
        let new = || Self { code: code.clone(), goal, next: 0, found: Vec::new() };
        Some(search.filter(|search| search.code == *code).unwrap_or_else(new))
    }

    /// Reads the next segments; begins a pass over what was found once all are read. Gives whether it came further, or none
    /// if the task is somebody else's.
    pub(super) async fn go_on(
        &mut self,
        queue: &Queue,
        store: &Store,
        task: &DatasetTask,
        view: &DatasetView,
    ) -> Result<Option<bool>, Error> {
        let page = queue.dataset_segments(&task.batch, self.next, MOST_READ).await?;
        for segment in &page {
            let outcomes = segments::read(store, &task.batch, self.next, segment).await?;
            outcomes.iter().for_each(|outcome| self.note(outcome));
            self.next += 1;
        }
        if self.next < view.segments || view.archived < self.goal {
            return Ok(Some(!page.is_empty()));
        }
        let rows: Vec<u64> = self.rows().collect();
        for rows in rows.chunks(MAX_MARKED) {
            if !task.mark(rows).await? {
                return Ok(None);
            }
        }
        // If there are more segments by now, the next round reads them.
        Ok(Some(task.retry_marked(&self.code, self.next).await?))
    }

    /// Segments come in the order in which rows ended, so that the last outcome of a row counts.
    fn note(&mut self, outcome: &Outcome) {
        let (word, bit) = ((outcome.row / 64) as usize, 1 << (outcome.row % 64));
        let failed = outcome.state == State::Failed
            && outcome.error.as_ref().is_some_and(|error| error.code == self.code);
        if word >= self.found.len() {
            if !failed {
                return;
            }
            self.found.resize(word + 1, 0);
        }
        if failed { self.found[word] |= bit } else { self.found[word] &= !bit }
    }

    fn rows(&self) -> impl Iterator<Item = u64> {
        let bits = |(word, bits): (u64, &u64)| {
            let bits = *bits;
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit)
        };
        (0..).zip(&self.found).flat_map(bits)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(row: u64, state: &str, code: &str) -> Outcome {
        let spec = uso_queue::JobSpec::parse(&json!({ "seed": 1 }), &uso_queue::Defaults::default()).unwrap();
        serde_json::from_value(json!({
            "row": row, "key": format!("r{row}"), "job": "0-01890a5d-ac96-8000-8000-000000000001", "state": state,
            "spec": spec, "error": { "code": code, "message": "", "retryable": false }, "attempt": 1,
            "submitted_ms": 1, "finished_ms": 2,
        }))
        .unwrap()
    }

    #[test]
    fn the_last_outcome_of_a_row_counts() {
        let mut search = Search { code: "flat".into(), goal: 0, next: 0, found: Vec::new() };
        for (row, state, code) in [
            (3, "failed", "flat"),
            (500, "failed", "flat"),
            (4, "failed", "broke"),
            (64, "failed", "flat"),
            (70_000, "succeeded", ""),
            (64, "succeeded", ""),
            (4, "failed", "flat"),
            (500, "failed", "broke"),
            (500, "canceled", "flat"),
        ] {
            search.note(&outcome(row, state, code));
        }
        assert_eq!(search.rows().collect::<Vec<_>>(), [3, 4]);
    }
}
