//! Batches.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uso_queue::{MAX_JOBS, MAX_METADATA};

use super::operation::Operation;
use super::parts::{self, LOCATION, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::{Table, named, streams};
use crate::routes::batches::{self, AcceptedBatch, Batch};

pub(super) fn add(table: &mut Table) {
    table.define("BatchRequest", request());
    table.tag("Batches", "Many jobs as one.");
    table.post("/v1/batches", batches::submit, submit());
    table.get("/v1/batches/{id}", batches::show, show());
    table.get("/v1/batches/{id}/events", batches::events, follow());
    let steer = |id, summary| {
        on_batch(id, summary).gives::<Batch>(StatusCode::ACCEPTED, "The batch as it is now.", &[])
    };
    let cancel = steer("cancelBatch", "Cancel all jobs of a batch").says("No more are accepted.");
    table.post("/v1/batches/{id}/cancel", batches::cancel, cancel);
    let pause = steer("pauseBatch", "Pause a batch").says("Jobs that run go on.");
    table.post("/v1/batches/{id}/pause", batches::pause, pause);
    table.post("/v1/batches/{id}/resume", batches::resume, steer("resumeBatch", "Resume a batch"));
    let retry = steer("retryFailedJobs", "Make the failed jobs of a batch anew");
    table.post("/v1/batches/{id}/retry-failed", batches::retry_failed, retry);
}

fn request() -> Value {
    json!({
        "description": "Jobs that are accepted together or not at all.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "jobs": { "type": "array", "items": named("JobRequest"), "minItems": 1, "maxItems": MAX_JOBS },
            "metadata": {
                "description": format!(
                    "The submitter's own, returned as it came; at most {MAX_METADATA} bytes of JSON."
                ),
            },
        },
        "required": ["jobs"],
    })
}

/// What can be done to a batch.
const ON_BATCH: [&str; 6] =
    ["getBatch", "followBatch", "cancelBatch", "pauseBatch", "resumeBatch", "retryFailedJobs"];

/// An operation on one batch.
fn on_batch(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary)
        .parameter(parts::batch_id())
        .refuses(StatusCode::NOT_FOUND, &["no_such_batch"])
}

fn submit() -> Operation {
    let seeds = json!({
        "jobs": [{ "prompt": "a fox", "class": "bulk", "seed": 1 }, { "prompt": "a fox", "class": "bulk", "seed": 2 }],
        "metadata": { "of": "foxes" },
    });
    Operation::new("submitBatch", "Submit a batch")
        .says("All of its jobs are accepted, or none.")
        .parameter(parts::idempotency_key())
        .takes(named("BatchRequest"), [("Two seeds", seeds)])
        .gives::<AcceptedBatch>(
            StatusCode::ACCEPTED,
            "The batch is accepted.",
            &[LOCATION, RATE_LIMIT, RATE_LIMIT_POLICY],
        )
        .leads_to(&ON_BATCH)
        .refuses(StatusCode::BAD_REQUEST, &["invalid_idempotency_key"])
        .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["idempotency_key_reused"])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_many_queued", "too_fast"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

fn show() -> Operation {
    on_batch("getBatch", "Look at a batch").gives::<Batch>(StatusCode::OK, "The batch.", &[])
}

fn follow() -> Operation {
    let operation = on_batch("followBatch", "Follow a batch").says(
        "What happens to any of its jobs. At the beginning, at the end and whenever something may have been \
         missed, `snapshot` with a `Batch`.",
    );
    streams::stream::<Batch>(operation, "The events of its jobs, until all have ended.").gives_nothing(
        StatusCode::NO_CONTENT,
        "Nothing follows: all jobs had ended with the event that was named.",
        &[],
    )
}
