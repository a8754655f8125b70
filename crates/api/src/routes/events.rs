//! `GET /v1/jobs/{id}/events`: what happens to a job, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde::Deserialize;
use uso_queue::{EventId, JobId, Queue};

use super::jobs::{describe, find};
use crate::caller::Caller;
use crate::watch::{Follower, Told};
use crate::{Problem, Shared};

/// Quiet for longer than this and proxies close the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the queue is told that somebody still watches: well within the time for which it believes so.
const WATCHING: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(crate) struct Resume {
    after: Option<String>,
}

pub(crate) async fn follow(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(resume): Query<Resume>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = resume_from(&headers, resume)?;
    let view = find(&shared, &caller, &id).await?;
    if view.state.is_terminal() && after.is_some_and(|after| after >= view.last_event) {
        // Tells an EventSource that it need not come back.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let watch = shared.watches.get(usize::from(view.id.shard())).ok_or_else(Problem::no_such_job)?;
    let watching = keep_watching(shared.queue.clone(), view.id);
    let follower = Follower::new(watch, &shared.queue, view, after).await?.ok_or_else(stopping)?;
    let events = stream::unfold((shared, follower), |(shared, mut follower)| async move {
        let told = follower.next().await?;
        let event = frame(&shared, told).await?;
        Some((Ok::<_, Infallible>(event), (shared, follower)))
    });
    // Both live and end with the stream; the second never cuts it off.
    let events = events.take_until(watching);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// Tells the queue that somebody watches a job, again and again: its worker then makes previews.
async fn keep_watching(queue: Queue, job: JobId) {
    loop {
        if let Err(error) = queue.watch(&job).await {
            // Only previews depend on it.
            tracing::debug!(job.id = %job, %error, "the queue does not know that the job is watched");
        }
        tokio::time::sleep(WATCHING).await;
    }
}

/// A reconnecting EventSource sends the header by itself; a page that was reloaded knows only the
/// parameter.
fn resume_from(headers: &HeaderMap, resume: Resume) -> Result<Option<EventId>, Problem> {
    let header =
        headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let Some(text) = header.or(resume.after).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let detail = "Last-Event-ID and ?after= take the id of an event, like 1700000000000-0";
        Problem::new(StatusCode::BAD_REQUEST, "invalid_event_id", detail)
    })
}

fn stopping() -> Problem {
    let detail = "this process is about to stop";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail).later(Duration::from_secs(1))
}

/// One event of the stream; none, and with it the stream's end, if it cannot be made.
async fn frame(shared: &Shared, told: Told) -> Option<Event> {
    let (id, name, data) = match told {
        Told::Snapshot(view) => {
            let body = describe(shared, &view).await.ok()?;
            (view.last_event, "snapshot", body.to_string())
        }
        Told::Event(event) => (event.id, event.name(), serde_json::to_string(&*event).ok()?),
    };
    Some(Event::default().id(id.to_string()).event(name).data(data))
}
