//! `POST /v1/jobs`, `GET /v1/jobs/{id}`, `GET /v1/jobs/{id}/result`, `GET /v1/jobs/{id}/preview`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::SchemaGenerator;
use serde_json::{Value, json};
use uso_queue::{Defaults, JobId, JobSpec, State as JobState, Submission};

use super::job_view::{
    AcceptedJob, FoundJob, Job, Remaining, accepted, deleted, describe_with, find, find_anywhere, link, word,
};
use super::wait::{self, Wait};
use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::idempotency::RequestKey;
use crate::intake;
use crate::openapi::operation::Operation;
use crate::openapi::parts::{self, LOCATION, PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

/// Operations on a job in any state.
pub(super) const ON_JOB: [&str; 6] =
    ["getJob", "followJob", "getResult", "cancelJob", "retryJob", "deleteJob"];

/// An operation on one job.
pub(super) fn on_job(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary).parameter(parts::job_id()).refuses(StatusCode::NOT_FOUND, &["no_such_job"])
}

/// The schema of a request for a job.
pub(super) fn request_schema(defaults: &Defaults) -> impl FnOnce(&mut SchemaGenerator) -> Value + use<> {
    let defaults = defaults.clone();
    move |schemas| JobSpec::request_schema(schemas, &defaults).into()
}

/// Valid requests for jobs.
pub(super) fn examples() -> [(&'static str, Value); 3] {
    let references = json!({
        "prompt": "the same cat as an oil painting",
        "content": "s3://uso/references/cat.png",
        "styles": ["s3://uso/references/brushwork.png"],
        "keep_size": true,
        "steps": 20,
        "seed": 7,
    });
    let overnight = json!({
        "prompt": "a lighthouse in a storm",
        "class": "bulk",
        "priority": 10,
        "start_by": "2100-01-31T22:00:00Z",
        "metadata": { "row": 17 },
    });
    [
        ("A prompt", json!({ "prompt": "a lighthouse at dusk", "width": 64, "height": 64 })),
        ("With references", references),
        ("Overnight", overnight),
    ]
}

pub(crate) fn submit_operation(defaults: &Defaults) -> Operation {
    let wait = format!(
        "`wait=N` waits for the job's end, N seconds and at most {}; other preferences are ignored.",
        wait::LONGEST
    );
    let prefer = parts::in_header("Prefer", &wait, json!({ "type": "string", "examples": ["wait=10"] }));
    let headers = [LOCATION, PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY];
    Operation::new("submitJob", "Submit a job")
        .says("An accepted job ends in exactly one of the states after `running`, even if processes crash.")
        .parameter(parts::idempotency_key())
        .parameter(prefer)
        .takes("JobRequest", request_schema(defaults), examples())
        .gives::<Job>(StatusCode::OK, "The job, which ended within the wait.", &headers)
        .gives::<AcceptedJob>(StatusCode::ACCEPTED, "The job is accepted.", &headers)
        .leads_to(&ON_JOB)
        .refuses(StatusCode::BAD_REQUEST, &["invalid_idempotency_key", "invalid_preference"])
        .refuses(StatusCode::CONFLICT, &["job_deleted"])
        .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["idempotency_key_reused"])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_many_queued", "too_fast"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

pub(crate) async fn submit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = Wait::asked(&headers)?;
    let body = read_json(&headers, body, MAX_BODY).await?;
    let request = RequestKey::new(&headers, &body)?;
    let parse = || JobSpec::parse(&body, &shared.config.defaults);
    if let Some(id) = request.job(&shared, &caller, || parse().ok()).await? {
        return answer(&shared, &caller, id, wait, None).await;
    }
    let mut spec = parse().map_err(Problem::fields)?;
    intake::check(&shared, &caller, std::slice::from_mut(&mut spec), |_| String::new()).await?;
    let job = Submission { key: request.key.as_deref(), request: Some(&request.digest), ..(&spec).into() };
    let submitted = shared.queue.submit(&caller.tenant, job).await?;
    // A repeated request without a seed got another random one than the job has.
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

pub(crate) fn show_operation() -> Operation {
    on_job("getJob", "Get a job")
        .gives::<Job>(StatusCode::OK, "The job.", &[])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let FoundJob { view, is_packed } = find_anywhere(&shared, &caller, &id).await?;
    let mut body = describe_with(&shared, &caller, &view, is_packed).await?;
    if !view.state.is_terminal() {
        let estimate = shared.paces.of_job(&shared.queue, &view).await?;
        body.remaining =
            estimate.map(|estimate| Remaining { position: estimate.position, eta_ms: estimate.total_ms() });
    }
    // The URLs in it are secret while they are valid.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

pub(crate) fn result_operation() -> Operation {
    on_job("getResult", "Fetch the picture")
        .gives_nothing(
            StatusCode::TEMPORARY_REDIRECT,
            "The picture is at `Location`, for a limited time.",
            &[LOCATION],
        )
        .refuses(StatusCode::CONFLICT, &["not_finished", "no_result"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

pub(crate) async fn result(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let FoundJob { view, is_packed } = find_anywhere(&shared, &caller, &id).await?;
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match (&view.output, view.error) {
        (Some(_), _) if is_packed => {
            let files = view.batch.map(|batch| format!("/v1/batches/{batch}/files")).unwrap_or_default();
            let detail = format!("the picture lies in a shard of its data set, which {files} lists");
            Err(conflict("no_result", detail))
        }
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

pub(crate) fn preview_operation() -> Operation {
    on_job("getPreview", "Fetch the newest preview")
        .says("Previews are made while a client follows the job's events, which announce each.")
        .gives_other("image/jpeg", json!({}), "The preview.")
        .refuses(StatusCode::NOT_FOUND, &["no_preview"])
}

/// The newest preview of a job.
pub(crate) async fn preview(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    let Some(picture) = shared.queue.preview(&view.id).await? else {
        let detail = "there is no preview now; previews are made while a client follows the job's events";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_preview", detail));
    };
    // The same address soon has another one.
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, picture).into_response())
}
