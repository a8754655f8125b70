//! `POST /v1/batches`, `GET /v1/batches/{id}` and what is under it: many jobs as one.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uso_queue::{BatchCounts, BatchOperation, BatchSubmitted, BatchView, NewBatch};

use super::batch_request;
use super::batch_view::{AcceptedBatch, Batch, BatchLinks, describe, describe_with_reasons, find};
use super::datasets::create::{AcceptedDataset, create};
use super::on_batch::on_batch;
use crate::body::{MAX_LARGE_BODY, read_json};
use crate::caller::Caller;
use crate::idempotency::RequestKey;
use crate::intake;
use crate::openapi::operation::Operation;
use crate::openapi::parts::{self, LOCATION, RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::shared::Shared;

/// How often the failed rows of a data set can be retried: the number is part of their jobs' ids.
const MAX_RETRIES: u8 = 62;

/// What can be done to a batch.
const ON_BATCH: [&str; 6] =
    ["getBatch", "followBatch", "cancelBatch", "pauseBatch", "resumeBatch", "retryFailedJobs"];

/// What can be done to a data set alone.
const ON_DATASET: [&str; 6] = ["getBatch", "addRows", "listRows", "startDataset", "setBudget", "listFiles"];

/// An operation on all jobs of a batch.
fn on_its_jobs(id: &'static str, summary: &'static str) -> Operation {
    on_batch(id, summary).gives::<Batch>(StatusCode::ACCEPTED, "The batch as it is now.", &[])
}

pub(crate) fn submit_operation() -> Operation {
    let job = |seed| json!({ "prompt": "a fox", "class": "bulk", "seed": seed });
    let seeds = json!({ "jobs": [job(1), job(2)], "metadata": { "of": "foxes" } });
    let dataset = json!({
        "dataset": { "name": "foxes-1", "shard_rows": 10_000, "split": { "by": "subject", "val": 0.05 } },
        "budget": { "pictures": 100_000, "device_seconds": null },
    });
    Operation::new("submitBatch", "Submit a batch")
        .says(
            "All of its jobs are accepted, or none. With `dataset` in place of `jobs` it makes a data set: send its rows \
             next, then start it. With a `manifest` the rows are read from there, which may take minutes, and it is started; repeating the request \
             goes on where it ended.",
        )
        .parameter(parts::idempotency_key())
        .takes("BatchRequest", batch_request::schema, [("Two seeds", seeds), ("A data set", dataset)])
        .gives::<AcceptedBatch>(
            StatusCode::ACCEPTED,
            "The batch is accepted.",
            &[LOCATION, RATE_LIMIT, RATE_LIMIT_POLICY],
        )
        .leads_to(&ON_BATCH)
        .gives::<AcceptedDataset>(StatusCode::CREATED, "The data set is made.", &[LOCATION])
        .leads_to(&ON_DATASET)
        .gives::<AcceptedDataset>(StatusCode::OK, "There is a data set of this name.", &[LOCATION])
        .leads_to(&ON_DATASET)
        .refuses(StatusCode::CONFLICT, &["rows_moved", "batch_canceled", "settings_differ"])
        .refuses(StatusCode::BAD_REQUEST, &["invalid_idempotency_key"])
        .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["idempotency_key_reused"])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_many_queued", "too_fast"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable", "no_room"])
}

/// Accepts all jobs, or none.
pub(crate) async fn submit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_json(&headers, body, MAX_LARGE_BODY).await?;
    let request = RequestKey::new(&headers, &body)?;
    let digest = hex::encode(request.digest);
    if let Some(key) = &request.key {
        let jobs = body.get("jobs").and_then(Value::as_array).map_or(0, Vec::len);
        let earlier = shared.queue.earlier_batch(&caller.tenant, key, &digest, jobs).await?;
        if let Some(earlier) = earlier {
            return Ok(accepted(earlier));
        }
    }
    if body.get("dataset").is_some() {
        return Box::pin(create(&shared, &caller, &body)).await;
    }
    let (mut jobs, metadata) = batch_request::read(&shared, &body).map_err(Problem::fields)?;
    intake::check(&shared, &caller, &mut jobs, |index| format!("/jobs/{index}")).await?;
    let new = NewBatch { jobs: &jobs, metadata: &metadata, key: request.key.as_deref(), digest: &digest };
    Ok(accepted(shared.queue.submit_batch(&caller.tenant, &new).await?))
}

fn accepted(submitted: BatchSubmitted) -> Response {
    let location = format!("/v1/batches/{}", submitted.id);
    let body =
        AcceptedBatch { id: submitted.id, links: BatchLinks::new(&submitted.id), jobs: submitted.jobs };
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response()
}

pub(crate) fn show_operation() -> Operation {
    on_batch("getBatch", "Get a batch").says("Of a data set, with its failed rows by reason.").gives::<Batch>(
        StatusCode::OK,
        "The batch.",
        &[],
    )
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    let batch = describe_with_reasons(&shared, view).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(batch)).into_response())
}

pub(crate) fn cancel_operation() -> Operation {
    on_its_jobs("cancelBatch", "Cancel all jobs of a batch").says("The batch takes no more jobs.")
}

/// Cancels all jobs of a batch.
pub(crate) async fn cancel(
    shared: State<Arc<Shared>>,
    caller: Caller,
    id: Path<String>,
) -> Result<Response, Problem> {
    control(shared, caller, id, BatchOperation::Cancel).await
}

pub(crate) fn pause_operation() -> Operation {
    on_its_jobs("pauseBatch", "Pause a batch").says("Running jobs go on.")
}

/// Starts no more jobs of a batch.
pub(crate) async fn pause(
    shared: State<Arc<Shared>>,
    caller: Caller,
    id: Path<String>,
) -> Result<Response, Problem> {
    control(shared, caller, id, BatchOperation::Pause).await
}

pub(crate) fn resume_operation() -> Operation {
    on_its_jobs("resumeBatch", "Resume a batch")
}

/// Starts the jobs of a batch again.
pub(crate) async fn resume(
    shared: State<Arc<Shared>>,
    caller: Caller,
    id: Path<String>,
) -> Result<Response, Problem> {
    control(shared, caller, id, BatchOperation::Resume).await
}

pub(crate) fn retry_failed_operation() -> Operation {
    let reason = json!({ "type": "string", "pattern": "^[a-z0-9_]{1,64}$" });
    on_its_jobs("retryFailedJobs", "Retry the failed jobs of a batch")
        .says("With a `reason`, rows of a data set are looked for first: `retrying` tells of that.")
        .parameter(parts::in_query("reason", "Only those whose `error` has this `code`.", reason))
        .refuses(StatusCode::CONFLICT, &["no_more_retries"])
}

/// The code of a failure.
struct Reason(String);

impl FromStr for Reason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_of_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_code = (1..=64).contains(&text.len()) && text.bytes().all(is_of_code);
        is_code.then(|| Self(text.to_owned())).ok_or(())
    }
}

/// Retries the failed jobs of a batch, or those that have failed for one reason.
pub(crate) async fn retry_failed(
    shared: State<Arc<Shared>>,
    caller: Caller,
    id: Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let reason: Option<Reason> = params.given("reason", "must be the code of a failure");
    params.finish()?;
    let view = find(&shared, &caller, &id.0).await?;
    if view.id.is_dataset() && !may_retry(&shared, &view).await? {
        return Ok((StatusCode::ACCEPTED, Json(describe(&shared, view).await?)).into_response());
    }
    let Some(Reason(code)) = reason else {
        return control(shared, caller, id, BatchOperation::RetryFailed).await;
    };
    shared.queue.retry_failed_with(&view.id, &code).await?;
    let view = find(&shared, &caller, &id.0).await?;
    Ok((StatusCode::ACCEPTED, Json(describe(&shared, view).await?)).into_response())
}

/// Whether there is anything to retry in a data set: each time takes one of the few that it has.
///
/// # Errors
/// `no_more_retries`.
async fn may_retry(shared: &Shared, view: &BatchView) -> Result<bool, Problem> {
    let BatchCounts { failed, canceled, expired, .. } = view.counts;
    if !view.canceled && failed + canceled + expired == 0 {
        return Ok(false);
    }
    let dataset = shared.queue.dataset(&view.id).await?;
    if dataset.is_some_and(|dataset| dataset.pass >= MAX_RETRIES) {
        let detail = format!(
            "the failed rows of a data set are retried {MAX_RETRIES} times at most; make another one for them"
        );
        return Err(Problem::new(StatusCode::CONFLICT, "no_more_retries", detail));
    }
    Ok(true)
}

/// Does something to all jobs of a batch; repeating it changes nothing.
async fn control(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    operation: BatchOperation,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    shared.queue.control_batch(&view.id, operation).await?;
    let view = find(&shared, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(describe(&shared, view).await?)).into_response())
}
