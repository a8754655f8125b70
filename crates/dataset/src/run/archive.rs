//! Outcomes go from the queue into segments, and shards are closed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use uso_queue::{Archived, DatasetTask, DatasetView, JobView, Measure, Queue, State};
use uso_store::Store;

use crate::{Error, Outcome, Settings, layout};

/// Outcomes of a segment.
pub(super) const MOST: u64 = 500;

/// For how long outcomes wait for others: a segment is written once and read twice, which a slow fleet would pay for each
/// few rows.
const PATIENCE: Duration = Duration::from_secs(10);

const JSON_LINES: &str = "application/x-ndjson";

/// Puts the outcomes of one data set into segments.
pub(super) struct Archiver {
    last: Instant,
}

impl Archiver {
    pub(super) fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// Puts outcomes into a segment, if there are enough or they have waited long enough; gives whether it did, or none
    /// if the task is somebody else's.
    pub(super) async fn archive(
        &mut self,
        queue: &Queue,
        store: &Store,
        task: &DatasetTask,
        view: &DatasetView,
        settings: &Settings,
        is_last: bool,
    ) -> Result<Option<bool>, Error> {
        if view.waiting == 0 || (view.waiting < MOST && !is_last && self.last.elapsed() < PATIENCE) {
            return Ok(Some(false));
        }
        self.last = Instant::now();
        let jobs = queue.dataset_outcomes(&task.batch, MOST).await?;
        let outcomes = jobs.into_iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
        let (outcomes, archived) = segment(outcomes, view, settings);
        let key = layout::segment(&task.batch, view.segments, task.fence);
        store.put(&key, JSON_LINES, lines(&outcomes)?).await?;
        Ok(task.archived(view.segments, &archived).await?.then_some(true))
    }
}

/// Closes the shard that takes rows; gives whether the task is still this process's.
pub(super) async fn close(task: &DatasetTask, view: &DatasetView) -> Result<bool, Error> {
    let closes = Archived { closes: true, ..Archived::default() };
    Ok(task.archived(view.segments, &closes).await?)
}

/// As many of the outcomes as still fit the shard that takes rows, and what is to be said of them.
fn segment(mut outcomes: Vec<Outcome>, view: &DatasetView, settings: &Settings) -> (Vec<Outcome>, Archived) {
    let mut archived = Archived { lowest: u64::MAX, ..Archived::default() };
    for outcome in &outcomes {
        archived.outcomes += 1;
        archived.lowest = archived.lowest.min(outcome.row);
        archived.highest = archived.highest.max(outcome.row);
        if let Some(output) = &outcome.output {
            archived.accepted += 1;
            archived.bytes += output.bytes;
            archived.device_ms += output.receipt.device_ms;
        }
        // Pictures that were not good enough have cost the device, too.
        archived.device_ms += outcome.error.as_ref().and_then(|error| error.device_ms).unwrap_or_default();
        for (measure, pictures) in rejected(outcome) {
            *archived.rejected.entry(measure.as_str().to_owned()).or_default() += pictures;
        }
        archived.closes = view.open_rows + archived.accepted >= u64::from(settings.shard_rows.max(1))
            || view.open_bytes + archived.bytes >= settings.shard_bytes;
        if archived.closes {
            break;
        }
    }
    outcomes.truncate(archived.outcomes as usize);
    (outcomes, archived)
}

/// How many pictures that were sampled for a row did not reach each measure's threshold.
fn rejected(outcome: &Outcome) -> BTreeMap<Measure, u64> {
    let scores = outcome.output.as_ref().and_then(|output| output.scores.as_ref());
    match (scores, &outcome.spec.gate, &outcome.error) {
        (Some(scores), Some(gate), _) => gate.rejections(&scores.tries, Some(scores.taken)),
        (_, _, Some(error)) => error.rejected.clone(),
        _ => BTreeMap::new(),
    }
}

fn outcome(job: JobView) -> Result<Outcome, Error> {
    let unreadable =
        |reason: &str| Error::Unreadable { object: format!("job {}", job.id), reason: reason.into() };
    let output = job.output.filter(|_| job.state == State::Succeeded);
    Ok(Outcome {
        row: job.row.ok_or_else(|| unreadable("it is no row"))?,
        key: job.row_key.ok_or_else(|| unreadable("its row has no key"))?,
        job: job.id,
        state: job.state,
        spec: job.spec,
        error: job.error.filter(|_| output.is_none()),
        output,
        attempt: job.attempt,
        submitted_ms: job.submitted_ms,
        started_ms: job.started_ms,
        finished_ms: job.finished_ms.unwrap_or_default(),
    })
}

fn lines(outcomes: &[Outcome]) -> Result<Bytes, Error> {
    let mut text = Vec::new();
    for outcome in outcomes {
        serde_json::to_writer(&mut text, outcome).map_err(|error| Error::Unreadable {
            object: format!("job {}", outcome.job),
            reason: error.to_string(),
        })?;
        text.push(b'\n');
    }
    Ok(text.into())
}
