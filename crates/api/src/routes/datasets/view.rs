//! A data set as the API answers it.

use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{Budget, DatasetView};

use super::reasons::{Reason, Reasons};

/// What a batch that is a data set has beside its counts.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Dataset {
    /// Its name among yours.
    name: String,
    /// Rows that were added.
    rows: u64,
    /// Of those, from the first on, how many may be queued.
    started: u64,
    /// The next row to be queued in this pass.
    next_row: u64,
    /// Rows that were queued at least once.
    queued_once: u64,
    /// The pass over the rows: 0, and one more each time the failed ones are retried.
    pass: u8,
    /// The code of a failure: rows that have failed with it are being looked for, to be made again.
    retrying: Option<String>,
    /// Why no rows are begun now: `paused`, `canceled`, `budget_pictures`, `budget_seconds`, or `window`: they wait for the
    /// nightly window, which lists do not tell.
    held: Option<String>,
    /// Rows that have ended and are listed under `rows`.
    archived: u64,
    /// Rows that have ended and are about to be.
    waiting: u64,
    /// Shards that take no more rows.
    shards: u32,
    /// Of those, how many are ready.
    packed: u32,
    /// Shards that the index tells of.
    described: u32,
    /// Pictures in the shard that takes rows.
    open_rows: u64,
    /// Device time of the archived rows in milliseconds.
    spent_ms: u64,
    budget: Budget,
    /// Failed rows by reason, the most frequent first; null where it is not counted: in lists, and in answers to changes.
    reasons: Option<Vec<Reason>>,
    /// Of the archived rows, how many are counted in `reasons`: each request counts some more.
    reasons_counted: Option<u64>,
}

impl Dataset {
    /// With its failed rows by reason.
    pub(crate) fn with_reasons(self, Reasons { list, counted }: Reasons) -> Self {
        Self { reasons: Some(list), reasons_counted: Some(counted), ..self }
    }

    /// While rows may not be begun because of the nightly window.
    pub(crate) fn outside_window(self) -> Self {
        Self { held: self.held.or_else(|| Some("window".to_owned())), ..self }
    }
}

impl From<DatasetView> for Dataset {
    fn from(view: DatasetView) -> Self {
        Self {
            name: view.name,
            rows: view.rows,
            started: view.sealed,
            next_row: view.cursor,
            queued_once: view.queued_once,
            pass: view.pass,
            retrying: view.retries,
            held: view.held,
            archived: view.archived,
            waiting: view.waiting,
            shards: view.shards,
            packed: view.packed,
            described: view.described,
            open_rows: view.open_rows,
            spent_ms: view.spent_ms,
            budget: view.budget,
            reasons: None,
            reasons_counted: None,
        }
    }
}
