//! A job as the API answers it.

use std::borrow::Cow;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use uso_queue::{JobId, JobSpec, JobView, KeyScope, Output, Source, State as JobState};

use super::datasets::archived;
use crate::caller::Caller;
use crate::job_links::JobLinks;
use crate::problem::Problem;
use crate::shared::Shared;

/// A job that has been accepted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AcceptedJob {
    id: JobId,
    /// The job's state.
    state: JobState,
    /// The request, with all defaults and a seed.
    spec: JobSpec,
    links: JobLinks,
}

/// Everything about a job. Times are milliseconds since 1970.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Job {
    #[serde(flatten)]
    view: WithoutOutput,
    /// The picture, once the job has succeeded; only for keys with the scope `read`.
    output: Option<Picture>,
    links: JobLinks,
    #[serde(flatten)]
    pub(super) remaining: Option<Remaining>,
}

/// The picture of a job, with temporary links to it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Picture {
    #[serde(flatten)]
    output: Output,
    /// A link to the picture: secret while it is valid. Null once the picture of a row lies in a shard of its data set.
    url: Option<String>,
    /// A link to the sidecar; null likewise.
    sidecar_url: Option<String>,
    /// A link to a small WebP of the picture, at most 384 pixels a side; none where the picture itself is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail_url: Option<String>,
}

/// How long a job that has not ended will still take.
#[derive(Serialize, JsonSchema)]
pub(super) struct Remaining {
    /// Jobs ahead of it.
    pub(super) position: u64,
    /// Milliseconds until its end, if that is known.
    pub(super) eta_ms: Option<u64>,
}

/// All of a view but the output, which needs its URLs.
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

/// The job with this request's idempotency key was deleted.
pub(crate) fn deleted(id: &JobId) -> Problem {
    let detail = format!("the job {id}, which was created with this idempotency key, was deleted");
    Problem::new(StatusCode::CONFLICT, "job_deleted", detail)
}

/// The answer with the address of an accepted job.
pub(crate) fn accepted(id: &JobId, state: JobState, spec: &JobSpec) -> Result<Response, Problem> {
    let location = format!("/v1/jobs/{id}");
    let body = AcceptedJob { id: *id, state, spec: spec.unpinned(), links: JobLinks::new(id) };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response())
}

pub(crate) fn word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Canceled => "was canceled",
        JobState::Expired => "expired",
    }
}

/// Reads an id from a path: for an invalid one the answer is the same as for a job that does not exist.
fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| Problem::no_such_job())
}

/// A job of the caller's; for another tenant's the answer is the same as for none.
pub(crate) async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<JobView, Problem> {
    let view = shared.queue.view(&job_id(id)?).await?;
    view.filter(|view| view.tenant == caller.tenant).ok_or_else(Problem::no_such_job)
}

/// A job that may have left the queue.
pub(super) struct FoundJob {
    pub(super) view: JobView,
    /// Whether its picture lies in a shard alone.
    pub(super) is_packed: bool,
}

/// As [`find`]; also a row of a data set whose job has left the queue.
pub(super) async fn find_anywhere(shared: &Shared, caller: &Caller, id: &str) -> Result<FoundJob, Problem> {
    let id = job_id(id)?;
    if let Some(view) = shared.queue.view(&id).await? {
        let view = Some(view).filter(|view| view.tenant == caller.tenant).ok_or_else(Problem::no_such_job)?;
        return Ok(FoundJob { view, is_packed: false });
    }
    let found = archived::find(shared, caller, &id).await?.ok_or_else(Problem::no_such_job)?;
    Ok(FoundJob { view: found.view, is_packed: found.is_packed })
}

/// A row of a data set is neither retried nor deleted by itself.
pub(super) fn refuse_row(view: &JobView) -> Result<(), Problem> {
    let Some(row) = view.id.row() else { return Ok(()) };
    let detail = format!(
        "the job is a row of the data set {}: retry its failed rows, or cancel it, with the batch",
        row.batch
    );
    Err(Problem::new(StatusCode::CONFLICT, "row_of_dataset", detail))
}

/// A picture with fresh links.
pub(super) async fn picture(shared: &Shared, output: Output, is_packed: bool) -> Result<Picture, Problem> {
    let thumbnail_url = match &output.thumbnail {
        Some(uri) => Some(link(shared, uri).await?),
        None => None,
    };
    if is_packed {
        return Ok(Picture { output, url: None, sidecar_url: None, thumbnail_url });
    }
    let (url, sidecar_url) = (link(shared, &output.uri).await?, link(shared, &output.sidecar).await?);
    Ok(Picture { output, url: Some(url), sidecar_url: Some(sidecar_url), thumbnail_url })
}

/// The view with its links and, for a caller who may read, with fresh URLs of its output.
pub(crate) async fn describe(shared: &Shared, caller: &Caller, view: &JobView) -> Result<Job, Problem> {
    describe_with(shared, caller, view, false).await
}

/// The same of a job whose picture may lie in a shard alone.
pub(super) async fn describe_with(
    shared: &Shared,
    caller: &Caller,
    view: &JobView,
    is_packed: bool,
) -> Result<Job, Problem> {
    let output = match view.output.clone().filter(|_| caller.may(KeyScope::Read)) {
        Some(output) => Some(picture(shared, output, is_packed).await?),
        None => None,
    };
    let view = JobView { spec: view.spec.unpinned(), ..view.clone() };
    Ok(Job { links: JobLinks::new(&view.id), view: WithoutOutput(view), output, remaining: None })
}

pub(super) async fn link(shared: &Shared, uri: &str) -> Result<String, Problem> {
    match uri.parse() {
        Ok(Source::S3 { bucket, key }) => {
            Ok(shared.store.presign_get(&bucket, &key, shared.config.link_lifetime).await?)
        }
        _ => Err(uso_queue::Error::Unreadable(format!("output {uri}")).into()),
    }
}
