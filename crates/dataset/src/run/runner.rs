//! One data set under the task `run`: rows in, outcomes out, until nothing is left to do.

use std::time::{Duration, Instant};

use uso_queue::{BatchCounts, DatasetTask, DatasetView, Queue};
use uso_store::Store;

use super::archive::{self, Archiver};
use super::describe;
use super::feed::{Feeder, Round};
use super::index;
use super::retries::Search;
use super::sweep;
use super::term::TERM;
use crate::shards::Hashes;
use crate::{Error, Settings};

/// Pause of a round in which nothing could be done.
const PAUSE: Duration = Duration::from_millis(100);

/// How often index and card are written while shards are committed.
const DESCRIBE_EVERY: Duration = Duration::from_secs(60);

/// Queues the rows of a data set and puts their outcomes into segments until nothing is left to do for now, or the task is
/// somebody else's.
///
/// # Errors
/// [`Error::Queue`] and [`Error::Store`]; whoever takes the task next goes on.
pub async fn run(queue: &Queue, store: &Store, task: &DatasetTask) -> Result<(), Error> {
    let (mut feeder, mut archiver, mut pace) = (Feeder::new(), Archiver::new(), Pace::new());
    let (mut described, mut search, mut hashes) = (Instant::now(), None, Hashes::default());
    loop {
        let state = task.renew(TERM).await?;
        if !state.held {
            return Ok(());
        }
        if !state.wanted {
            return Ok(task.release().await?);
        }
        let Some((view, counts)) = look(queue, task).await? else { return Ok(task.release().await?) };
        let settings = Settings::read(&view.settings)?;
        search = Search::of(search, &view);
        let searched = match &mut search {
            Some(search) => search.go_on(queue, store, task, &view).await?,
            None => Some(false),
        };
        feeder.pace(pace.rows_a_second(view.archived + view.waiting));
        let fed = feeder.feed(queue, store, task, &view, &settings, counts.queued).await?;
        let is_last = counts.queued + counts.running == 0 && !is_feedable(&view);
        let hurries = is_last || search.is_some();
        let archived = archiver.archive(queue, store, task, &view, &settings, hurries).await?;
        let (Some(archived), Some(searched)) = (archived, searched) else { return Ok(()) };
        let segments = view.segments + u64::from(archived);
        if fed == Round::Lost || !index::keep_up(queue, store, task, &view, segments, is_last).await? {
            return Ok(());
        }
        // A paused data set goes on filling its shard.
        let may_close = view.held.as_deref() != Some("paused") || view.cursor >= view.sealed;
        if is_last && view.waiting == 0 && view.open_rows > 0 && may_close {
            if !archive::close(task, &view).await? {
                return Ok(());
            }
            continue;
        }
        let is_packed = view.packed == view.shards && is_last;
        if view.packed > view.described && (is_packed || described.elapsed() > DESCRIBE_EVERY) {
            describe::describe(queue, store, task, &view, &settings, &mut hashes).await?;
            if is_packed {
                sweep::sweep(queue, store, task, &view).await?;
            }
            described = Instant::now();
            continue;
        }
        if fed == Round::Waits && !archived && !searched {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn is_feedable(view: &DatasetView) -> bool {
    view.cursor < view.sealed && view.held.is_none()
}

async fn look(queue: &Queue, task: &DatasetTask) -> Result<Option<(DatasetView, BatchCounts)>, Error> {
    // In this order: a row that ends in between waits in the view, and no shard is closed without it.
    let (batch, view) = (queue.batch(&task.batch).await?, queue.dataset(&task.batch).await?);
    Ok(view.zip(batch.map(|batch| batch.counts)))
}

/// How fast rows end.
struct Pace {
    since: Instant,
    ended: Option<u64>,
    rows_a_second: f64,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), ended: None, rows_a_second: 0.0 }
    }

    /// Takes note of how many rows have ended.
    fn rows_a_second(&mut self, ended: u64) -> f64 {
        let before = *self.ended.get_or_insert(ended);
        let seconds = self.since.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            let now = ended.saturating_sub(before) as f64 / seconds;
            // Quick to rise, slow to fall: a pause says little about what comes next.
            self.rows_a_second = now.max(self.rows_a_second * 0.9);
            (self.since, self.ended) = (Instant::now(), Some(ended));
        }
        self.rows_a_second
    }
}
