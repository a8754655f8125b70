//! Outcomes that have left the queue, out of their segments.

use uso_queue::{BatchId, Queue, SegmentView, State};
use uso_store::Store;

use crate::{Error, Outcome, layout};

/// Segments that one call to the queue asks for.
const PAGE: u64 = 1000;

/// Segments that one page of outcomes reads.
const MOST_READ: usize = 20;

/// Which outcomes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeFilter {
    /// Those in this state alone.
    pub state: Option<State>,
}

/// Some outcomes of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OutcomePage {
    /// The outcomes, the newest last.
    pub outcomes: Vec<Outcome>,
    /// The segment that each of them is in.
    pub segments: Vec<u64>,
    /// From where the next page goes on; none if this is the last for now.
    pub next: Option<(u64, u64)>,
}

/// Up to `most` outcomes from a segment and a line in it on.
///
/// # Errors
/// [`Error::Queue`], [`Error::Store`], or [`Error::Unreadable`].
pub async fn page_of_outcomes(
    queue: &Queue,
    store: &Store,
    batch: &BatchId,
    from: (u64, u64),
    most: usize,
    filter: &OutcomeFilter,
) -> Result<OutcomePage, Error> {
    let mut page = OutcomePage::default();
    // One more than it reads, to know whether there are more.
    let found = queue.dataset_segments(batch, from.0, MOST_READ as u64 + 1).await?;
    for (read_before, (number, segment)) in (from.0..).zip(found).enumerate() {
        if page.outcomes.len() == most || read_before == MOST_READ {
            page.next = Some((number, 0));
            return Ok(page);
        }
        let skip = if number == from.0 { from.1 } else { 0 };
        let outcomes = read(store, batch, number, &segment).await?;
        for (line, outcome) in (0..).zip(outcomes).skip(skip as usize) {
            if page.outcomes.len() == most {
                page.next = Some((number, line));
                return Ok(page);
            }
            if filter.state.is_none_or(|state| state == outcome.state) {
                page.outcomes.push(outcome);
                page.segments.push(number);
            }
        }
    }
    Ok(page)
}

/// Numbers and keys of segments.
pub(super) async fn keys(
    queue: &Queue,
    batch: &BatchId,
    first: u64,
    last: u64,
) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    while first + (keys.len() as u64) <= last {
        let from = first + keys.len() as u64;
        let page = queue.dataset_segments(batch, from, PAGE.min(last - from + 1)).await?;
        if page.is_empty() {
            break;
        }
        keys.extend((from..).zip(page).map(|(number, one)| layout::segment(batch, number, one.fence)));
    }
    Ok(keys)
}

pub(super) async fn all(
    queue: &Queue,
    batch: &BatchId,
    first: u64,
) -> Result<Vec<(u64, SegmentView)>, Error> {
    let mut segments: Vec<(u64, SegmentView)> = Vec::new();
    loop {
        let from = first + segments.len() as u64;
        let page = queue.dataset_segments(batch, from, PAGE).await?;
        let is_last = (page.len() as u64) < PAGE;
        segments.extend((from..).zip(page));
        if is_last {
            return Ok(segments);
        }
    }
}

pub(super) async fn read(
    store: &Store,
    batch: &BatchId,
    number: u64,
    segment: &SegmentView,
) -> Result<Vec<Outcome>, Error> {
    let key = layout::segment(batch, number, segment.fence);
    let text = store.get(&key).await?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let outcomes = lines.map(|line| {
        serde_json::from_slice(line)
            .map_err(|error| Error::Unreadable { object: key.clone(), reason: error.to_string() })
    });
    outcomes.collect()
}
