//! `GET /v1/jobs/{id}/events`, `GET /v1/events`: the events of jobs, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use uso_queue::{EventId, JobId, Queue};

use super::job_view::{Job, describe, find};
use super::jobs::on_job;
use super::queue::TenantDepth;
use crate::caller::Caller;
use crate::follow::{Follower, JobUpdate, TopicFollower, TopicUpdate};
use crate::openapi::operation::Operation;
use crate::openapi::streams;
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::shared::Shared;
use crate::sse::{answer, event_of, resume_from, retry_event};
use crate::watch::Topic;

/// How often the queue is told that a client still follows: well within the time after which it would forget that.
const WATCHING: Duration = Duration::from_secs(10);

pub(crate) fn of_job_operation() -> Operation {
    let operation = on_job("followJob", "Follow a job").says(
        "First, and whenever events may have been missed, `snapshot` with a `Job`; then the job's events, up to \
         `succeeded`, `failed`, `canceled` or `expired`.",
    );
    streams::stream::<Job>(operation, "The job's events, until it has ended.").gives_nothing(
        StatusCode::NO_CONTENT,
        "There is nothing more: the job ended with the event that you named.",
        &[],
    )
}

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
        // Tells an EventSource not to reconnect.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let watch = shared.watches.get(usize::from(view.id.shard())).ok_or_else(Problem::no_such_job)?;
    let watching = keep_watching(shared.queue.clone(), view.id);
    let follower = Follower::new(watch, &shared.queue, view, after).await?.ok_or_else(Problem::stopping)?;
    let events = stream::unfold(Some((shared, caller, follower)), |state| async move {
        let (shared, caller, mut follower) = state?;
        let Some(update) = follower.next().await else {
            return (!follower.has_ended()).then(|| (retry_event(), None));
        };
        match job_event(&shared, &caller, update).await {
            Some(event) => Some((event, Some((shared, caller, follower)))),
            None => Some((retry_event(), None)),
        }
    });
    // `watching` never ends, and is dropped with the stream.
    Ok(answer(events.take_until(watching)))
}

pub(crate) fn of_tenant_operation() -> Operation {
    let operation = Operation::new("followJobs", "Follow all your jobs").says(
        "The events of all jobs, without end. A `snapshot` says that events may have been missed, and how many \
         jobs there are.",
    );
    streams::stream::<TenantDepth>(operation, "The events of all jobs.")
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
    let follower = TopicFollower::new(watch, topic, after).await?.ok_or_else(Problem::stopping)?;
    let watching = keep_watching_tenant(shared.queue.clone(), caller.tenant.clone());
    let events = stream::unfold(Some((shared, caller.tenant, follower)), |state| async move {
        let (shared, tenant, mut follower) = state?;
        let event = match follower.next().await {
            Some(TopicUpdate::Event(event)) => event_of(&event),
            Some(TopicUpdate::Reload(at)) => snapshot(&shared, &tenant, at).await,
            None => None,
        };
        match event {
            Some(event) => Some((event, Some((shared, tenant, follower)))),
            None => Some((retry_event(), None)),
        }
    });
    Ok(answer(events.take_until(watching)))
}

/// How many jobs a tenant has: the client must read their states again.
async fn snapshot(shared: &Shared, tenant: &str, at: EventId) -> Option<Event> {
    let (queued, running) = shared.queue.tenant_depth(tenant).await.ok()?;
    let data = serde_json::to_string(&TenantDepth { queued, running }).ok()?;
    Some(Event::default().id(at.to_string()).event("snapshot").data(data))
}

/// Tells the queue again and again that a client follows a job: its worker then makes previews.
async fn keep_watching(queue: Queue, job: JobId) {
    loop {
        if let Err(error) = queue.watch(&job).await {
            // Only previews depend on it.
            tracing::debug!(job.id = %job, %error, "the queue was not told that a client follows the job");
        }
        tokio::time::sleep(WATCHING).await;
    }
}

/// The same for all jobs of a tenant.
async fn keep_watching_tenant(queue: Queue, tenant: String) {
    loop {
        if let Err(error) = queue.watch_tenant(&tenant).await {
            tracing::debug!(tenant, %error, "the queue was not told that a client follows the tenant");
        }
        tokio::time::sleep(WATCHING).await;
    }
}

/// One event of a job's stream; none if it cannot be made, which ends the stream.
async fn job_event(shared: &Shared, caller: &Caller, update: JobUpdate) -> Option<Event> {
    match update {
        JobUpdate::Snapshot(view) => {
            let body = serde_json::to_string(&describe(shared, caller, &view).await.ok()?).ok()?;
            Some(Event::default().id(view.last_event.to_string()).event("snapshot").data(body))
        }
        JobUpdate::Event(event) => event_of(&event),
    }
}
