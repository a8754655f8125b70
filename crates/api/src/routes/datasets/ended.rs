//! Rows that have ended, as a segment of outcomes tells, without what was asked for and what came of it.

use serde::Deserialize;
use uso_dataset::layout;
use uso_queue::{BatchId, Failure, SegmentView, State};
use uso_store::Store;

use crate::problem::Problem;

/// A row that has ended.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct EndedRow {
    pub(super) row: u64,
    pub(super) key: String,
    pub(super) state: State,
    #[serde(default)]
    pub(super) error: Option<Failure>,
}

/// The rows of a segment, in order.
///
/// # Errors
/// That the store does not answer, or that the segment cannot be read.
pub(super) async fn read(
    store: &Store,
    batch: &BatchId,
    number: u64,
    segment: &SegmentView,
) -> Result<Vec<EndedRow>, Problem> {
    let text = store.get(&layout::segment(batch, number, segment.fence)).await?;
    // Parsing takes too long for a thread that serves others, too.
    let parsed = tokio::task::spawn_blocking(move || {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(serde_json::from_slice).collect::<Result<Vec<EndedRow>, _>>()
    });
    let rows = parsed.await.map_err(|error| Problem::internal(&error))?;
    rows.map_err(|error| Problem::internal(&format!("segment {number} of batch {batch}: {error}")))
}
