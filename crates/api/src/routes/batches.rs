//! `POST /v1/batches`, `GET /v1/batches/{id}` and what is under it: many jobs as one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uso_queue::{
    BatchId, BatchOperation, BatchSubmitted, BatchView, EventId, FieldError, JobId, JobSpec, MAX_JOBS,
    MAX_METADATA, NewBatch,
};

use super::events::{answer, come_back, happened, resume_from};
use crate::body::{MAX_LARGE_BODY, read_json};
use crate::caller::Caller;
use crate::follow::{FollowerOfMany, ToldOfMany};
use crate::path::Path;
use crate::query::Params;
use crate::repeats::Asked;
use crate::watch::Topic;
use crate::{Problem, Shared, intake};

/// Pause of a stream that is about to end while this process still reads what has happened.
const CATCHES_UP: Duration = Duration::from_millis(20);

/// A batch that has been accepted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AcceptedBatch {
    id: BatchId,
    links: BatchLinks,
    /// Its jobs, in the order of the request.
    jobs: Vec<JobId>,
}

/// Everything about a batch.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Batch {
    #[serde(flatten)]
    view: BatchView,
    links: BatchLinks,
}

/// Where everything about a batch is found.
#[derive(Serialize, JsonSchema)]
struct BatchLinks {
    /// The batch itself.
    #[serde(rename = "self")]
    this: String,
    /// What happens to its jobs.
    events: String,
    /// Its jobs, a page at a time.
    jobs: String,
    /// Where it is canceled.
    cancel: String,
    /// Where it is paused.
    pause: String,
    /// Where it is resumed.
    resume: String,
    /// Where its failed jobs are made anew.
    retry_failed: String,
}

impl BatchLinks {
    fn new(id: &BatchId) -> Self {
        let under = |name: &str| format!("/v1/batches/{id}/{name}");
        Self {
            this: format!("/v1/batches/{id}"),
            events: under("events"),
            jobs: format!("/v1/jobs?batch={id}"),
            cancel: under("cancel"),
            pause: under("pause"),
            resume: under("resume"),
            retry_failed: under("retry-failed"),
        }
    }
}

/// Accepts all jobs, or none.
pub(crate) async fn submit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_json(&headers, body, MAX_LARGE_BODY).await?;
    let asked = Asked::new(&headers, &body)?;
    let digest: String = asked.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(key) = &asked.key {
        let jobs = body.get("jobs").and_then(Value::as_array).map_or(0, Vec::len);
        let earlier = shared.queue.earlier_batch(&caller.tenant, key, &digest, jobs).await?;
        if let Some(earlier) = earlier {
            return Ok(accepted(earlier));
        }
    }
    let (mut jobs, metadata) = read(&shared, &body).map_err(Problem::fields)?;
    intake::check(&shared, &caller, &mut jobs, |index| format!("/jobs/{index}")).await?;
    let new = NewBatch { jobs: &jobs, metadata: &metadata, key: asked.key.as_deref(), digest: &digest };
    Ok(accepted(shared.queue.submit_batch(&caller.tenant, &new).await?))
}

fn accepted(submitted: BatchSubmitted) -> Response {
    let location = format!("/v1/batches/{}", submitted.id);
    let body =
        AcceptedBatch { id: submitted.id, links: BatchLinks::new(&submitted.id), jobs: submitted.jobs };
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response()
}

/// The jobs and the metadata of a request, or everything that is wrong with it.
fn read(shared: &Shared, body: &Value) -> Result<(Vec<JobSpec>, Value), Vec<FieldError>> {
    let fault = |pointer: String, code, message: String| FieldError { pointer, code, message };
    let Value::Object(fields) = body else {
        return Err(vec![fault(String::new(), "wrong_type", "the body must be a JSON object".into())]);
    };
    let (mut jobs, mut errors) = (Vec::new(), Vec::new());
    match fields.get("jobs").and_then(Value::as_array) {
        Some(asked) if (1..=MAX_JOBS).contains(&asked.len()) => {
            for (index, job) in asked.iter().enumerate() {
                match JobSpec::parse(job, &shared.config.defaults) {
                    Ok(spec) => jobs.push(spec),
                    Err(faults) => errors.extend(faults.into_iter().map(|error| FieldError {
                        pointer: format!("/jobs/{index}{}", error.pointer),
                        ..error
                    })),
                }
            }
        }
        Some(asked) => {
            let message = format!("{} jobs; 1 to {MAX_JOBS} are allowed", asked.len());
            errors.push(fault("/jobs".into(), "out_of_range", message));
        }
        None => errors.push(fault("/jobs".into(), "wrong_type", "must be an array of jobs".into())),
    }
    let metadata = fields.get("metadata").cloned().unwrap_or_default();
    let size = metadata.to_string().len();
    if size > MAX_METADATA {
        let message = format!("{size} bytes of JSON, at most {MAX_METADATA} are allowed");
        errors.push(fault("/metadata".into(), "too_long", message));
    }
    for name in fields.keys().filter(|name| !matches!(name.as_str(), "jobs" | "metadata")) {
        errors.push(FieldError::unknown(name));
    }
    if errors.is_empty() { Ok((jobs, metadata)) } else { Err(errors) }
}

/// The caller's batch of this name; anybody else's is not there.
async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<BatchView, Problem> {
    let id: BatchId = id.parse().map_err(|_| Problem::no_such_batch())?;
    let view = shared.queue.batch(&id).await?;
    view.filter(|view| view.tenant == caller.tenant).ok_or_else(Problem::no_such_batch)
}

fn describe(view: BatchView) -> Batch {
    Batch { links: BatchLinks::new(&view.id), view }
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(describe(view))).into_response())
}

/// Ends all jobs of a batch.
pub(crate) async fn cancel(shared: State<Arc<Shared>>, caller: Caller, id: Path<String>) -> Steered {
    steer(shared, caller, id, BatchOperation::Cancel).await
}

/// Lets no more jobs of a batch begin.
pub(crate) async fn pause(shared: State<Arc<Shared>>, caller: Caller, id: Path<String>) -> Steered {
    steer(shared, caller, id, BatchOperation::Pause).await
}

/// Lets the jobs of a batch begin again.
pub(crate) async fn resume(shared: State<Arc<Shared>>, caller: Caller, id: Path<String>) -> Steered {
    steer(shared, caller, id, BatchOperation::Resume).await
}

/// Makes the failed jobs of a batch anew.
pub(crate) async fn retry_failed(shared: State<Arc<Shared>>, caller: Caller, id: Path<String>) -> Steered {
    steer(shared, caller, id, BatchOperation::RetryFailed).await
}

type Steered = Result<Response, Problem>;

/// Does something to all jobs of a batch; again does no harm.
async fn steer(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    operation: BatchOperation,
) -> Steered {
    let view = find(&shared, &caller, &id).await?;
    shared.queue.control_batch(&view.id, operation).await?;
    let view = find(&shared, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(describe(view))).into_response())
}

/// The events of a batch's jobs, until all have ended.
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let after = resume_from(&headers, params)?;
    let view = find(&shared, &caller, &id).await?;
    let watch = shared.watches.get(usize::from(view.id.shard())).ok_or_else(Problem::no_such_batch)?;
    let follower = FollowerOfMany::new(watch, Topic::Batch(view.id), after).await?;
    let follower = follower.ok_or_else(Problem::stopping)?;
    if after.is_some() && follower.is_idle() && has_ended(&view) {
        // Tells an EventSource that it need not come back.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let story = Story { shared, batch: view.id, follower, ends_at: None, over: false };
    let events = stream::unfold(Some(story), |story| async move {
        let mut story = story?;
        match story.next().await {
            Some(event) => Some((event, Some(story))),
            None => (!story.over).then(|| (come_back(), None)),
        }
    });
    Ok(answer(events))
}

fn has_ended(view: &BatchView) -> bool {
    view.counts.queued + view.counts.running == 0
}

/// What one client is told of a batch.
struct Story {
    shared: Arc<Shared>,
    batch: BatchId,
    follower: FollowerOfMany,
    /// The newest event there was when the last of its jobs had ended: what happened until then is still to be
    /// told.
    ends_at: Option<EventId>,
    /// All has been told.
    over: bool,
}

impl Story {
    /// The next event: at the end how the batch is then.
    async fn next(&mut self) -> Option<Event> {
        while !self.over {
            if let Some(last) = self.ends_at.filter(|_| self.follower.is_idle()) {
                if self.follower.has_heard(last) {
                    self.over = true;
                    return snapshot(self.view().await?, last);
                }
                tokio::time::sleep(CATCHES_UP).await;
                continue;
            }
            match self.follower.next().await? {
                ToldOfMany::Anew(at) => {
                    let view = self.view().await?;
                    self.over = has_ended(&view);
                    return snapshot(view, at);
                }
                ToldOfMany::Event(event) => {
                    self.ends_at = None;
                    if event.is_terminal() && self.follower.is_idle() && has_ended(&self.view().await?) {
                        self.ends_at = self.shared.queue.newest_event(self.batch.shard()).await.ok();
                    }
                    return happened(&event);
                }
            }
        }
        None
    }

    async fn view(&self) -> Option<BatchView> {
        self.shared.queue.batch(&self.batch).await.ok().flatten()
    }
}

fn snapshot(view: BatchView, at: EventId) -> Option<Event> {
    let data = serde_json::to_string(&describe(view)).ok()?;
    Some(Event::default().id(at.to_string()).event("snapshot").data(data))
}
