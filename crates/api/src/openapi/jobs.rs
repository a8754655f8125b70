//! Jobs, and what happens to them.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uso_queue::{BatchId, Class, ListCursor, State};

use super::operation::Operation;
use super::parts::{self, LOCATION, PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::{Table, named, reference, streams};
use crate::eta::Estimate;
use crate::routes::jobs::{AcceptedJob, Job};
use crate::routes::list::{JobPage, MOST, USUAL};
use crate::routes::queue::TenantDepth;
use crate::routes::{estimate, events, jobs, list, remove, steer, wait};

pub(super) fn add(table: &mut Table) {
    table.tag("Jobs", "A job draws a picture.");
    table.post("/v1/jobs", jobs::submit, submit());
    table.get("/v1/jobs", list::list, list_jobs());
    table.get("/v1/jobs/{id}", jobs::show, show());
    table.delete("/v1/jobs/{id}", remove::remove, delete());
    table.get("/v1/jobs/{id}/result", jobs::result, result());
    table.get("/v1/jobs/{id}/preview", jobs::preview, preview());
    table.get("/v1/jobs/{id}/events", events::of_job, follow());
    table.post("/v1/jobs/{id}/cancel", steer::cancel, cancel());
    table.post("/v1/jobs/{id}/retry", steer::retry, retry());
    table.get("/v1/events", events::of_tenant, follow_all());
    table.post("/v1/estimate", estimate::estimate, ask_estimate());
}

/// Requests for jobs that are good ones.
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

/// What can be done to a job, whichever it is.
const ON_JOB: [&str; 6] = ["getJob", "followJob", "getResult", "cancelJob", "retryJob", "deleteJob"];

/// An operation on one job.
fn on_job(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary).parameter(parts::job_id()).refuses(StatusCode::NOT_FOUND, &["no_such_job"])
}

fn submit() -> Operation {
    let wait = format!(
        "`wait=N` waits N seconds, {} at most, for the job's end; other preferences are ignored.",
        wait::LONGEST
    );
    let prefer = parts::in_header("Prefer", &wait, json!({ "type": "string", "examples": ["wait=10"] }));
    let headers = [LOCATION, PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY];
    Operation::new("submitJob", "Submit a job")
        .says("Once it is accepted it ends in exactly one of the states after `running`, whatever dies meanwhile.")
        .parameter(parts::idempotency_key())
        .parameter(prefer)
        .takes(named("JobRequest"), examples())
        .gives::<Job>(StatusCode::OK, "The job, which ended within the time of `Prefer`.", &headers)
        .gives::<AcceptedJob>(StatusCode::ACCEPTED, "The job is accepted.", &headers)
        .leads_to(&ON_JOB)
        .refuses(StatusCode::BAD_REQUEST, &["invalid_idempotency_key", "invalid_preference"])
        .refuses(StatusCode::CONFLICT, &["job_deleted"])
        .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["idempotency_key_reused"])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_many_queued", "too_fast"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

fn list_jobs() -> Operation {
    let words = |words: &[&str]| json!({ "type": "string", "enum": words });
    Operation::new("listJobs", "List your jobs")
        .says("The newest first, a page at a time.")
        .parameter(parts::in_query(
            "state",
            "Only those in this state.",
            words(&State::ALL.map(State::as_str)),
        ))
        .parameter(parts::in_query(
            "class",
            "Only those of this class.",
            words(&Class::ALL.map(Class::as_str)),
        ))
        .parameter(parts::in_query("batch", "Only those of this batch.", reference::<BatchId>()))
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::cursor::<ListCursor>())
        .gives::<JobPage>(StatusCode::OK, "A page.", &[])
}

fn show() -> Operation {
    on_job("getJob", "Look at a job").gives::<Job>(StatusCode::OK, "The job.", &[])
}

fn delete() -> Operation {
    on_job("deleteJob", "Delete a job that has ended")
        .says(
            "Its record, its picture and all that belongs to it. References stay: other jobs may name them.",
        )
        .gives_nothing(StatusCode::NO_CONTENT, "It is gone.", &[])
        .refuses(StatusCode::CONFLICT, &["not_finished"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

fn result() -> Operation {
    on_job("getResult", "Fetch the picture")
        .gives_nothing(
            StatusCode::TEMPORARY_REDIRECT,
            "The picture is at `Location`, for a while.",
            &[LOCATION],
        )
        .refuses(StatusCode::CONFLICT, &["not_finished", "no_result"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

fn preview() -> Operation {
    on_job("getPreview", "Fetch the newest preview")
        .says("Previews are made while somebody follows the job's events, which tell of each.")
        .gives_other("image/jpeg", json!({}), "How far the picture is.")
        .refuses(StatusCode::NOT_FOUND, &["no_preview"])
}

fn follow() -> Operation {
    let operation = on_job("followJob", "Follow a job").says(
        "First, and whenever something may have been missed, `snapshot` with a `Job`; then what happens, up to \
         `succeeded`, `failed`, `canceled` or `expired`.",
    );
    streams::stream::<Job>(operation, "The job's events, until it has ended.").gives_nothing(
        StatusCode::NO_CONTENT,
        "Nothing follows: the job ended with the event that was named.",
        &[],
    )
}

fn follow_all() -> Operation {
    let operation = Operation::new("followJobs", "Follow all your jobs").says(
        "What happens to any of them, without end. A `snapshot` says that something may have been missed, and \
         how much there is to do.",
    );
    streams::stream::<TenantDepth>(operation, "The events of all jobs.")
}

fn cancel() -> Operation {
    on_job("cancelJob", "Cancel a job")
        .says("Again gives the same answer. A key that may not read is shown no picture.")
        .gives::<Job>(StatusCode::ACCEPTED, "It is canceled.", &[])
        .refuses(StatusCode::CONFLICT, &["already_ended"])
}

fn retry() -> Operation {
    on_job("retryJob", "Repeat a job that has ended")
        .says("Makes a new job, once: again gives the same one.")
        .gives::<AcceptedJob>(StatusCode::ACCEPTED, "The new job.", &[LOCATION])
        .leads_to(&ON_JOB)
        .refuses(StatusCode::CONFLICT, &["not_finished"])
}

fn ask_estimate() -> Operation {
    let jobs = json!({ "type": "integer", "minimum": 1, "maximum": estimate::MOST, "default": 1 });
    Operation::new("estimateJob", "Ask how long a job would take")
        .says("Nothing is submitted, and references are not looked at.")
        .parameter(parts::in_query("jobs", "How many jobs like this one; 1 if it is left out.", jobs))
        .takes(named("JobRequest"), examples())
        .gives::<Estimate>(StatusCode::OK, "What it would have before it.", &[])
}
