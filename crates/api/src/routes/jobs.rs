//! `POST /v1/jobs`, `GET /v1/jobs/{id}`, `GET /v1/jobs/{id}/result`, `GET /v1/jobs/{id}/preview`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use uso_queue::{JobId, JobSpec, JobView, KeyScope, Output, Source, State as JobState, Submission};

use super::wait::Wait;
use super::{JobLinks, job_id};
use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::path::Path;
use crate::repeats::Asked;
use crate::{Problem, Shared, intake};

/// A job that has been accepted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AcceptedJob {
    id: JobId,
    /// Where it stands.
    state: JobState,
    /// What was asked for, with every default filled in and the seed drawn.
    spec: JobSpec,
    links: JobLinks,
}

/// Everything about a job. Times are milliseconds since 1970.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Job {
    #[serde(flatten)]
    view: WithoutOutput,
    /// The picture, once it succeeded; only for a key that may read.
    output: Option<Picture>,
    links: JobLinks,
    #[serde(flatten)]
    remaining: Option<Remaining>,
}

/// The picture of a job, and for a while where it can be fetched.
#[derive(Serialize, JsonSchema)]
struct Picture {
    #[serde(flatten)]
    output: Output,
    /// Where the picture can be fetched: a secret for as long as it lives.
    url: String,
    /// Where the sidecar can be fetched.
    sidecar_url: String,
}

/// What a job that is looked at still has before it.
#[derive(Serialize, JsonSchema)]
struct Remaining {
    /// Jobs ahead of it.
    position: u64,
    /// Until its end in milliseconds, where that can be told.
    eta_ms: Option<u64>,
}

/// All of a view but the output, which is answered with its URLs.
struct WithoutOutput(JobView);

impl Serialize for WithoutOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = json!(self.0);
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("output");
        }
        fields.serialize(serializer)
    }
}

impl JsonSchema for WithoutOutput {
    fn schema_name() -> Cow<'static, str> {
        "JobWithoutOutput".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = JobView::json_schema(generator);
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.remove("output");
        }
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|name| name != "output");
        }
        schema
    }
}

pub(crate) async fn submit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = Wait::asked(&headers)?;
    let body = read_json(&headers, body, MAX_BODY).await?;
    let asked = Asked::new(&headers, &body)?;
    let parse = || JobSpec::parse(&body, &shared.config.defaults);
    if let Some(id) = asked.job(&shared, &caller, || parse().ok()).await? {
        return answer(&shared, &caller, id, wait, None).await;
    }
    let mut spec = parse().map_err(Problem::fields)?;
    intake::check(&shared, &caller, std::slice::from_mut(&mut spec), |_| String::new()).await?;
    let job = Submission { key: asked.key.as_deref(), request: Some(&asked.digest), ..(&spec).into() };
    let submitted = shared.queue.submit(&caller.tenant, job).await?;
    // The seed that a repeat drew is not the one that the job has.
    answer(&shared, &caller, submitted.id, wait, submitted.fresh.then_some(&spec)).await
}

/// The answer to a submission; `spec` is that of a job that is new.
async fn answer(
    shared: &Arc<Shared>,
    caller: &Caller,
    id: JobId,
    wait: Option<Wait>,
    spec: Option<&JobSpec>,
) -> Result<Response, Problem> {
    if let Some(wait) = wait {
        return wait.for_job(shared, caller, id).await;
    }
    if let Some(spec) = spec {
        return accepted(&id, JobState::Queued, spec);
    }
    let view = shared.queue.view(&id).await?.ok_or_else(|| deleted(&id))?;
    accepted(&id, view.state, &view.spec)
}

/// The job that has this request's key is there no more.
pub(crate) fn deleted(id: &JobId) -> Problem {
    let detail = format!("the job {id}, which was made with this idempotency key, was deleted");
    Problem::new(StatusCode::CONFLICT, "job_deleted", detail)
}

/// The answer that tells where to find a job.
pub(super) fn accepted(id: &JobId, state: JobState, spec: &JobSpec) -> Result<Response, Problem> {
    let location = format!("/v1/jobs/{id}");
    let body = AcceptedJob { id: *id, state, spec: spec.unpinned(), links: JobLinks::new(id) };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response())
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    let mut body = describe(&shared, &caller, &view).await?;
    if !view.state.is_terminal() {
        let estimate = shared.paces.of_job(&shared.queue, &view).await?;
        body.remaining =
            estimate.map(|estimate| Remaining { position: estimate.position, eta_ms: estimate.total_ms() });
    }
    // The URLs in it are secrets for as long as they live.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

pub(crate) async fn result(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match (&view.output, view.error) {
        (Some(output), _) => {
            let url = link(&shared, &output.uri).await?;
            let headers = [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())];
            Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
        }
        _ if !view.state.is_terminal() => {
            let detail = format!("the job is {}", word(view.state));
            Err(conflict("not_finished", detail).later(Duration::from_secs(1)))
        }
        (None, Some(failure)) => {
            Err(conflict("no_result", format!("the job {}: {}", word(view.state), failure.message)))
        }
        (None, None) => Err(conflict("no_result", format!("the job {}", word(view.state)))),
    }
}

/// The newest picture of how far a job is.
pub(crate) async fn preview(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    let Some(picture) = shared.queue.preview(&view.id).await? else {
        let detail = "there is no preview now; they are made while somebody follows the job's events";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_preview", detail));
    };
    // Under the same name there is another one soon.
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, picture).into_response())
}

pub(super) fn word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Canceled => "was canceled",
        JobState::Expired => "expired",
    }
}

/// A job of the caller's; another tenant's is as if it were not there.
pub(crate) async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<JobView, Problem> {
    let view = shared.queue.view(&job_id(id)?).await?;
    view.filter(|view| view.tenant == caller.tenant).ok_or_else(Problem::no_such_job)
}

/// The view with its links, and with fresh URLs for what it ended with: for a caller who may read.
pub(super) async fn describe(shared: &Shared, caller: &Caller, view: &JobView) -> Result<Job, Problem> {
    let output = match view.output.clone().filter(|_| caller.may(KeyScope::Read)) {
        Some(output) => {
            let (url, sidecar_url) = (link(shared, &output.uri).await?, link(shared, &output.sidecar).await?);
            Some(Picture { output, url, sidecar_url })
        }
        None => None,
    };
    let view = JobView { spec: view.spec.unpinned(), ..view.clone() };
    Ok(Job { links: JobLinks::new(&view.id), view: WithoutOutput(view), output, remaining: None })
}

async fn link(shared: &Shared, uri: &str) -> Result<String, Problem> {
    match uri.parse() {
        Ok(Source::S3 { bucket, key }) => {
            Ok(shared.store.presign_get(&bucket, &key, shared.config.link_lifetime).await?)
        }
        _ => Err(uso_queue::Error::Unreadable(format!("output {uri}")).into()),
    }
}
