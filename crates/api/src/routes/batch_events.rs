//! `GET /v1/batches/{id}/events`: what happens to a batch's jobs, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream;
use uso_queue::{BatchId, BatchView, EventId};

use super::batch_view::{Batch, describe, find};
use super::on_batch::on_batch;
use crate::caller::Caller;
use crate::follow::{TopicFollower, TopicUpdate};
use crate::openapi::operation::Operation;
use crate::openapi::streams;
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::shared::Shared;
use crate::sse::{answer, event_of, resume_from, retry_event};
use crate::watch::Topic;

/// Pause of a stream that waits until this process has read the last events.
const CATCH_UP: Duration = Duration::from_millis(20);

pub(crate) fn follow_operation() -> Operation {
    let operation = on_batch("followBatch", "Follow a batch").says(
        "The events of all its jobs. At the start, at the end and whenever events may have been missed, \
         `snapshot` with a `Batch`.",
    );
    streams::stream::<Batch>(operation, "The events of its jobs, until all have ended.").gives_nothing(
        StatusCode::NO_CONTENT,
        "There is nothing more: all jobs had ended with the event that you named.",
        &[],
    )
}

/// The events of a batch's jobs, until all have ended.
pub(crate) async fn follow(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let after = resume_from(&headers, params)?;
    let view = find(&shared, &caller, &id).await?;
    let watch = shared.watches.get(usize::from(view.id.shard())).ok_or_else(Problem::no_such_batch)?;
    let follower = TopicFollower::new(watch, Topic::Batch(view.id), after).await?;
    let follower = follower.ok_or_else(Problem::stopping)?;
    if after.is_some() && follower.is_idle() && has_ended(&view) {
        // Tells an EventSource not to reconnect.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let updates = BatchStream { shared, batch: view.id, follower, ends_at: None, ended: false };
    let events = stream::unfold(Some(updates), |updates| async move {
        let mut updates = updates?;
        match updates.next().await {
            Some(event) => Some((event, Some(updates))),
            None => (!updates.ended).then(|| (retry_event(), None)),
        }
    });
    Ok(answer(events))
}

fn has_ended(view: &BatchView) -> bool {
    let counts = &view.counts;
    let ended = counts.succeeded + counts.failed + counts.canceled + counts.expired;
    // Of a data set, rows may wait that are not queued yet.
    let waits = view.id.is_dataset() && !view.canceled && ended < counts.total;
    counts.queued + counts.running == 0 && !waits
}

/// The updates of one batch, for one client.
struct BatchStream {
    shared: Arc<Shared>,
    batch: BatchId,
    follower: TopicFollower,
    /// The newest event when the last of its jobs had ended: events up to this one must still be sent.
    ends_at: Option<EventId>,
    /// Everything has been sent.
    ended: bool,
}

impl BatchStream {
    /// The next event; the last one is a snapshot of the batch.
    async fn next(&mut self) -> Option<Event> {
        while !self.ended {
            if let Some(last) = self.ends_at.filter(|_| self.follower.is_idle()) {
                if self.follower.has_read(last) {
                    self.ended = true;
                    return snapshot(&self.shared, self.view().await?, last).await;
                }
                tokio::time::sleep(CATCH_UP).await;
                continue;
            }
            match self.follower.next().await? {
                TopicUpdate::Reload(at) => {
                    let view = self.view().await?;
                    self.ended = has_ended(&view);
                    return snapshot(&self.shared, view, at).await;
                }
                TopicUpdate::Event(event) => {
                    self.ends_at = None;
                    if event.is_terminal() && self.follower.is_idle() && has_ended(&self.view().await?) {
                        self.ends_at = self.shared.queue.newest_event(self.batch.shard()).await.ok();
                    }
                    return event_of(&event);
                }
            }
        }
        None
    }

    async fn view(&self) -> Option<BatchView> {
        self.shared.queue.batch(&self.batch).await.ok().flatten()
    }
}

async fn snapshot(shared: &Shared, view: BatchView, at: EventId) -> Option<Event> {
    let data = serde_json::to_string(&describe(shared, view).await.ok()?).ok()?;
    Some(Event::default().id(at.to_string()).event("snapshot").data(data))
}
