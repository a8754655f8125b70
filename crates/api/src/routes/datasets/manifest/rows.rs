//! A manifest's rows find their places behind the rows that are there.

use std::collections::VecDeque;

use uso_dataset::rows::{BadRow, CHUNK_ROWS, Digest, Row};
use uso_queue::{BatchId, FieldError, Kept};

use super::bad_rows::{BadRows, by_line};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::routes::datasets::add::{Added, add};
use crate::routes::datasets::replace::{Replacement, replace, why};
use crate::routes::datasets::request::WantedRows;
use crate::shared::Shared;

/// Characters of prompts after which a chunk takes no more rows: a chunk is read whole.
const MOST_TEXT: usize = 4 << 20;

/// Rows on their way into a data set.
pub(super) struct Rows<'a> {
    shared: &'a Shared,
    caller: &'a Caller,
    batch: &'a BatchId,
    skips_bad: bool,
    /// What a row's number counts in the manifest.
    place: &'static str,
    /// Replaces rows that ask for something else than before.
    replaces: bool,
    /// Rows that are there.
    there: u64,
    /// Rows of those that are not found in the manifest yet, of the chunks before `next_chunk`.
    unmatched: VecDeque<(String, Digest)>,
    next_chunk: u32,
    matched: u64,
    /// Rows of the chunk before `next_chunk` that ask for something else.
    changed: Vec<Row>,
    /// Rows that were replaced.
    replaced: u64,
    /// Rows that are to be added next, and the length of their prompts.
    pending: Vec<Row>,
    text: usize,
    bad: BadRows,
}

impl<'a> Rows<'a> {
    pub(super) async fn new(
        shared: &'a Shared,
        caller: &'a Caller,
        batch: &'a BatchId,
        wanted: &WantedRows,
    ) -> Result<Self, Problem> {
        let there = shared.queue.dataset(batch).await?.ok_or_else(Problem::no_such_dataset)?.rows;
        Ok(Self {
            shared,
            caller,
            batch,
            skips_bad: wanted.skips_bad,
            place: wanted.kind.place(),
            replaces: wanted.replaces,
            there,
            unmatched: VecDeque::new(),
            next_chunk: 0,
            matched: 0,
            changed: Vec::new(),
            replaced: 0,
            pending: Vec::new(),
            text: 0,
            bad: BadRows::default(),
        })
    }

    /// How many rows the data set has, as far as is known.
    pub(super) fn there(&self) -> u64 {
        self.there
    }

    /// Takes the next row of the manifest.
    pub(super) async fn take(&mut self, row: Result<Row, BadRow>) -> Result<(), Problem> {
        let row = match row {
            Ok(row) => row,
            Err(BadRow { line, faults }) => {
                self.bad.add(line, faults);
                return Ok(());
            }
        };
        if self.matched < self.there {
            return self.compare(row).await;
        }
        self.replace().await?;
        // Of a manifest with bad rows only those before the first are added.
        if self.bad.count > 0 && !self.skips_bad {
            return Ok(());
        }
        self.text += row.job.prompt.len();
        self.pending.push(row);
        if self.pending.len() == CHUNK_ROWS || self.text >= MOST_TEXT {
            self.flush().await?;
        }
        Ok(())
    }

    /// Compares a row with the next one that is there.
    async fn compare(&mut self, row: Row) -> Result<(), Problem> {
        while self.unmatched.is_empty() {
            self.replace().await?;
            let known = self.shared.datasets.of(self.batch);
            let mut known = known.lock().await;
            let view = self.shared.queue.dataset(self.batch).await?.ok_or_else(Problem::no_such_dataset)?;
            known.refresh(&self.shared.queue, &self.shared.store, self.batch, &view).await?;
            let rows = known.fetch(&self.shared.store, self.batch, self.next_chunk as usize).await?;
            if rows.is_empty() {
                return Err(Problem::internal(&"a data set has fewer rows in chunks than it should"));
            }
            self.unmatched.extend(rows.into_iter().map(|row| (row.key, row.digest)));
            self.next_chunk += 1;
        }
        let next = self.unmatched.front().filter(|(key, _)| *key == row.key);
        let is_same = next.map(|(_, digest)| *digest == row.digest);
        if is_same == Some(true) || (is_same.is_some() && self.replaces) {
            self.unmatched.pop_front();
            self.matched += 1;
            if is_same == Some(false) {
                self.changed.push(row);
            }
        } else if self.skips_bad {
            // It was left out for what it points to, or the manifest has changed.
            let fault = FieldError {
                pointer: String::new(),
                code: "passed_over",
                message: format!(
                    "row {} of the data set is another one: this one was left out before, or is new",
                    self.matched
                ),
            };
            self.bad.add(row.line, vec![fault]);
        } else {
            let detail = format!(
                "row {} of the data set is another one than {} {} of the manifest",
                self.matched, self.place, row.line
            );
            return Err(Problem::rows_moved(self.there, detail));
        }
        Ok(())
    }

    /// Replaces the changed rows of the last chunk that was compared.
    async fn replace(&mut self) -> Result<(), Problem> {
        let rows = std::mem::take(&mut self.changed);
        let Some(number) = self.next_chunk.checked_sub(1).filter(|_| !rows.is_empty()) else { return Ok(()) };
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        let again = rows.clone();
        let faults = match replace(self.shared, self.caller, self.batch, number.into(), rows).await? {
            Replacement::Done(kept) => {
                self.keep(lines.len(), kept);
                return Ok(());
            }
            Replacement::Bad(faults) => by_line(faults),
        };
        for line in lines.iter().filter(|line| faults.contains_key(line)) {
            self.bad.add(*line, faults[line].clone());
        }
        let good: Vec<Row> = again.into_iter().filter(|row| !faults.contains_key(&row.line)).collect();
        let count = good.len();
        if good.is_empty() || !self.skips_bad {
            return Ok(());
        }
        match replace(self.shared, self.caller, self.batch, number.into(), good).await? {
            Replacement::Done(kept) => {
                self.keep(count, kept);
                Ok(())
            }
            // An upload expired this moment.
            Replacement::Bad(faults) => Err(Problem::fields(faults)),
        }
    }

    /// Counts rows that were replaced, and takes note of those that stay as they are.
    fn keep(&mut self, asked: usize, kept: Vec<(Row, Kept)>) {
        self.replaced += (asked - kept.len()) as u64;
        for (row, kept) in kept {
            let (_, message) = why(kept);
            let fault = FieldError {
                pointer: "/key".into(),
                code: "not_replaceable",
                message: format!("row {} {message}", row.key),
            };
            self.bad.add(row.line, vec![fault]);
        }
    }

    /// Adds what is pending.
    async fn flush(&mut self) -> Result<(), Problem> {
        let rows = std::mem::take(&mut self.pending);
        self.text = 0;
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        let again = if self.skips_bad { rows.clone() } else { Vec::new() };
        let faults = match self.add(rows).await? {
            None => return Ok(()),
            Some(faults) => by_line(faults),
        };
        for line in lines {
            if let Some(faults) = faults.get(&line) {
                self.bad.add(line, faults.clone());
            }
        }
        let good: Vec<Row> = again.into_iter().filter(|row| !faults.contains_key(&row.line)).collect();
        match if good.is_empty() { None } else { self.add(good).await? } {
            None => Ok(()),
            // An upload expired this moment.
            Some(faults) => Err(Problem::fields(faults)),
        }
    }

    /// Adds rows behind all others; gives what is wrong with them.
    async fn add(&mut self, rows: Vec<Row>) -> Result<Option<Vec<FieldError>>, Problem> {
        if rows.is_empty() {
            return Ok(None);
        }
        match add(self.shared, self.caller, self.batch, self.there, rows).await? {
            Added::Rows { rows, .. } => {
                (self.there, self.matched) = (rows, rows);
                Ok(None)
            }
            Added::Bad(faults) => Ok(Some(faults)),
            Added::Moved(rows) => {
                Err(Problem::rows_moved(rows, "others add rows to this data set at the same time"))
            }
        }
    }

    /// Adds and replaces the last rows. Gives the bad rows, how many others are there, and how many were replaced.
    pub(super) async fn finish(mut self) -> Result<(BadRows, u64, u64), Problem> {
        self.replace().await?;
        if self.bad.count == 0 || self.skips_bad {
            self.flush().await?;
        }
        if self.bad.count > 0 && !self.skips_bad {
            return Err(self.bad.refuse());
        }
        if self.matched < self.there {
            let detail = format!("the data set has {} rows, the manifest has fewer", self.there);
            return Err(Problem::rows_moved(self.there, detail));
        }
        Ok((self.bad, self.there, self.replaced))
    }
}
