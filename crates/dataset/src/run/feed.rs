//! Rows go from the store into the queue, as many at a time as the fleet needs.

use sha2::{Digest as _, Sha256};
use uso_queue::{
    DatasetTask, DatasetView, Error as QueueError, Fed, JobSpec, MAX_FED, Queue, RowSubmission, Wait,
};
use uso_store::Store;

use super::chunks::Chunks;
use crate::rows::Row;
use crate::{Error, Settings};

/// Rows that wait at least, and at most.
const WINDOW: (u64, u64) = (1000, 10_000);

/// The window covers what the fleet does in this many seconds.
const COVERS: f64 = 8.0;

/// Note of a row that ended with a picture.
const SUCCEEDED: u8 = 1;

/// Queues the rows of one data set.
pub(super) struct Feeder {
    chunks: Chunks,
    /// The chunk at hand.
    at_hand: Option<(usize, Vec<Row>)>,
    /// How often rows had been dropped when these chunks were read.
    discards: u64,
    window: u64,
    /// Whether Redis had no memory left for the last rows.
    is_full: bool,
}

/// What one round of feeding came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Some rows were queued, or passed over.
    Moved,
    /// Nothing can be queued now.
    Waits,
    /// The task is somebody else's.
    Lost,
}

impl Feeder {
    pub(super) fn new() -> Self {
        Self { chunks: Chunks::default(), at_hand: None, discards: 0, window: WINDOW.0, is_full: false }
    }

    /// Fits the window to what the fleet does in a second.
    pub(super) fn pace(&mut self, rows_a_second: f64) {
        let covered = (rows_a_second * COVERS) as u64;
        self.window = covered.clamp(WINDOW.0, WINDOW.1);
    }

    /// Queues the next rows, where so many are `queued` already.
    pub(super) async fn feed(
        &mut self,
        queue: &Queue,
        store: &Store,
        task: &DatasetTask,
        view: &DatasetView,
        settings: &Settings,
        queued: u64,
    ) -> Result<Round, Error> {
        let room = room(self.window, queued);
        if view.cursor >= view.sealed || view.held.is_some() || room == 0 {
            return Ok(Round::Waits);
        }
        if view.discards != self.discards {
            // Chunks that could not be queued yet may have gone, and others may have come in their places.
            *self = Self { discards: view.discards, window: self.window, ..Self::new() };
        }
        if view.sealed > self.chunks.rows() {
            self.chunks.refresh(queue, &task.batch).await?;
        }
        let Some(number) = self.chunks.of_row(view.cursor) else {
            let object = format!("row {} of batch {}", view.cursor, task.batch);
            return Err(Error::Unreadable { object, reason: "no chunk holds it".into() });
        };
        let (first, after) =
            self.chunks.get(number).map_or((0, 0), |(first, entry)| (*first, first + entry.rows));
        let to = after.min(view.sealed);
        let wanted = wanted(queue, task, view, to, room).await?;
        // Of many chunks nothing is wanted in a pass over few rows.
        if !wanted.is_empty() {
            self.take(store, task, number).await?;
        }
        let rows = self.at_hand.as_ref().map_or(&[][..], |(_, rows)| rows);
        let rows: Vec<_> = wanted
            .iter()
            .filter_map(|row| {
                let Row { key, job, .. } = rows.get((row - first) as usize)?;
                let mut job = job.clone();
                settings.complete(&mut job);
                Some((*row, key, job))
            })
            .collect();
        let submissions: Vec<_> = rows
            .iter()
            .map(|(row, key, spec)| RowSubmission { row: *row, key, group: group_of(spec), spec })
            .collect();
        // Rows behind the last of these come with the next call.
        let to = if submissions.len() == room { wanted.last().map_or(to, |row| row + 1) } else { to };
        let fed = match task.feed(view.cursor, to, self.window, &submissions).await {
            // Outcomes leave the queue all the same: that makes room.
            Err(QueueError::Full) => {
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::warn!(batch = %task.batch, "Redis is full: it takes no more rows for now");
                }
                return Ok(Round::Waits);
            }
            fed => fed?,
        };
        self.is_full = false;
        match fed {
            Fed::Queued(next) if next > view.cursor => Ok(Round::Moved),
            Fed::Moved(_) => Ok(Round::Moved),
            Fed::Queued(_) | Fed::Waits(Wait::Window | Wait::Held(_), _) => Ok(Round::Waits),
            Fed::Waits(Wait::Limit, _) => Ok(Round::Waits),
            Fed::Lost => Ok(Round::Lost),
        }
    }

    async fn take(&mut self, store: &Store, task: &DatasetTask, number: usize) -> Result<(), Error> {
        if self.at_hand.as_ref().is_none_or(|(at_hand, _)| *at_hand != number) {
            self.at_hand = Some((number, self.chunks.fetch(store, &task.batch, number).await?));
        }
        Ok(())
    }
}

/// How many rows the next call may queue, where so many of the window are `queued`: as many as a call can, or none. Calls
/// for the few rows that have just ended would cost more than the rows, and the others last for a while.
fn room(window: u64, queued: u64) -> usize {
    let free = window.saturating_sub(queued) as usize;
    if free < MAX_FED { 0 } else { MAX_FED }
}

/// Rows with the same group go to one worker where there are enough groups for all. The content reference makes it: with
/// w workers and rows of every content with every style and prompt, each worker then encodes its share of the contents and
/// all of the rest, and to part the rows by anything finer would have every worker encode everything.
fn group_of(job: &JobSpec) -> u64 {
    let shared = job.content.as_ref().or(job.styles.first()).map(ToString::to_string);
    let digest = Sha256::digest(shared.as_deref().unwrap_or(&job.prompt).as_bytes());
    // Lua's numbers are exact up to 2^53, and 0 is for rows without a group.
    digest.iter().take(6).fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

/// The next rows before `to` that are to be queued in this pass, `most` of them: in the first all, in a later one those
/// that were never queued or have not ended well, and of the latter perhaps the marked ones alone.
async fn wanted(
    queue: &Queue,
    task: &DatasetTask,
    view: &DatasetView,
    to: u64,
    most: usize,
) -> Result<Vec<u64>, Error> {
    if view.pass == 0 {
        return Ok((view.cursor..to).take(most).collect());
    }
    let notes = queue.row_notes(&task.batch, view.cursor, to - view.cursor).await?;
    let marks = match view.is_selective {
        true => queue.row_marks(&task.batch, view.cursor, to - view.cursor).await?,
        false => vec![true; notes.len()],
    };
    let again = |(row, (note, is_marked)): (u64, (u8, bool))| match note {
        SUCCEEDED => None,
        0 => (row >= view.queued_once).then_some(row),
        _ => is_marked.then_some(row),
    };
    Ok((view.cursor..to).zip(notes.into_iter().zip(marks)).filter_map(again).take(most).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_queued_in_calls_that_are_full() {
        assert_eq!(room(1000, 0), MAX_FED);
        assert_eq!(room(1000, 800), MAX_FED);
        assert_eq!(room(1000, 801), 0, "800 rows wait, and a call for 199 is not worth it");
        assert_eq!([room(1000, 1000), room(1000, 3000)], [0, 0], "the window became smaller");
        assert!(room(WINDOW.0, 0) > 0 && WINDOW.0 >= 2 * MAX_FED as u64, "a window never starves");
    }
}
