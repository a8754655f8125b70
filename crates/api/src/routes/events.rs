//! `GET /v1/jobs/{id}/events`, `GET /v1/events`: what happens, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use uso_queue::{EventId, JobEvent, JobId, Queue};
use uuid::Uuid;

use super::jobs::{describe, find};
use super::queue::TenantDepth;
use crate::caller::Caller;
use crate::follow::{Follower, FollowerOfMany, Told, ToldOfMany};
use crate::path::Path;
use crate::query::Params;
use crate::watch::Topic;
use crate::{Problem, Shared};

/// Quiet for longer than this and proxies close the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the queue is told that somebody still watches: well within the time for which it believes so.
const WATCHING: Duration = Duration::from_secs(10);

/// When clients come back to a process that stopped, in milliseconds: not all at once.
const BACK_AFTER: u64 = 500;
const BACK_WITHIN: u128 = 2000;

/// One job's events.
pub(crate) async fn of_job(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let after = resume_from(&headers, params)?;
    let view = find(&shared, &caller, &id).await?;
    if view.state.is_terminal() && after.is_some_and(|after| after >= view.last_event) {
        // Tells an EventSource that it need not come back.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let watch = shared.watches.get(usize::from(view.id.shard())).ok_or_else(Problem::no_such_job)?;
    let watching = keep_watching(shared.queue.clone(), view.id);
    let follower = Follower::new(watch, &shared.queue, view, after).await?.ok_or_else(Problem::stopping)?;
    let events = stream::unfold(Some((shared, caller, follower)), |state| async move {
        let (shared, caller, mut follower) = state?;
        let Some(told) = follower.next().await else {
            return (!follower.is_over()).then(|| (come_back(), None));
        };
        match frame(&shared, &caller, told).await {
            Some(event) => Some((event, Some((shared, caller, follower)))),
            None => Some((come_back(), None)),
        }
    });
    // Both live and end with the stream; the second never cuts it off.
    Ok(answer(events.take_until(watching)))
}

/// The events of all jobs of a tenant.
pub(crate) async fn of_tenant(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let after = resume_from(&headers, params)?;
    let shard = usize::from(shared.queue.shard_of(&caller.tenant));
    let watch = shared.watches.get(shard).ok_or_else(Problem::stopping)?;
    let topic = Topic::Tenant(caller.tenant.clone());
    let follower = FollowerOfMany::new(watch, topic, after).await?.ok_or_else(Problem::stopping)?;
    let watching = keep_watching_tenant(shared.queue.clone(), caller.tenant.clone());
    let events = stream::unfold(Some((shared, caller.tenant, follower)), |state| async move {
        let (shared, tenant, mut follower) = state?;
        let event = match follower.next().await {
            Some(ToldOfMany::Event(event)) => happened(&event),
            Some(ToldOfMany::Anew(at)) => anew(&shared, &tenant, at).await,
            None => None,
        };
        match event {
            Some(event) => Some((event, Some((shared, tenant, follower)))),
            None => Some((come_back(), None)),
        }
    });
    Ok(answer(events.take_until(watching)))
}

/// How much a tenant has to do: whatever its jobs were is to be read anew.
async fn anew(shared: &Shared, tenant: &str, at: EventId) -> Option<Event> {
    let (queued, running) = shared.queue.tenant_depth(tenant).await.ok()?;
    let data = serde_json::to_string(&TenantDepth { queued, running }).ok()?;
    Some(Event::default().id(at.to_string()).event("snapshot").data(data))
}

/// A stream of events as an answer.
pub(crate) fn answer(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

/// The last thing that a client hears of a process that stops: when to come back.
pub(crate) fn come_back() -> Event {
    let spread = Uuid::new_v4().as_u128() % BACK_WITHIN;
    Event::default().retry(Duration::from_millis(BACK_AFTER + spread as u64))
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

/// The same for all jobs of a tenant.
async fn keep_watching_tenant(queue: Queue, tenant: String) {
    loop {
        if let Err(error) = queue.watch_tenant(&tenant).await {
            tracing::debug!(tenant, %error, "the queue does not know that the tenant is watched");
        }
        tokio::time::sleep(WATCHING).await;
    }
}

/// A reconnecting EventSource sends the header by itself; a page that was reloaded knows only the
/// parameter.
pub(super) fn resume_from(headers: &HeaderMap, mut params: Params) -> Result<Option<EventId>, Problem> {
    let parameter = params.text("after");
    params.finish()?;
    let header =
        headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let read = |text: Option<String>| {
        let id = text.filter(|text| !text.is_empty()).map(|text| text.parse());
        id.transpose().map_err(|_: String| {
            let detail = "Last-Event-ID and ?after= take the id of an event, like 1700000000000-0";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_event_id", detail)
        })
    };
    let (header, parameter) = (read(header)?, read(parameter)?);
    Ok(header.or(parameter))
}

/// One event of a job's stream; none, and with it the stream's end, if it cannot be made.
async fn frame(shared: &Shared, caller: &Caller, told: Told) -> Option<Event> {
    match told {
        Told::Snapshot(view) => {
            let body = serde_json::to_string(&describe(shared, caller, &view).await.ok()?).ok()?;
            Some(Event::default().id(view.last_event.to_string()).event("snapshot").data(body))
        }
        Told::Event(event) => happened(&event),
    }
}

/// What happened to a job.
pub(super) fn happened(event: &JobEvent) -> Option<Event> {
    let data = serde_json::to_string(event).ok()?;
    Some(Event::default().id(event.id.to_string()).event(event.name()).data(data))
}
