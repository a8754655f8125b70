//! `GET /v1/workers`: who draws.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uso_queue::{JobId, WorkerReport};

use crate::{Problem, Shared};

#[derive(Serialize)]
struct Worker {
    id: String,
    /// How long ago it last said something.
    heard_ms_ago: u64,
    /// What it said; of the jobs that it holds only the tenant's.
    #[serde(flatten)]
    report: WorkerReport,
    /// How many more it holds.
    other_jobs: usize,
}

/// All workers that are there.
pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let workers = shared.queue.workers().await?;
    let now_ms = shared.queue.now_ms().await?;
    let workers: Vec<Worker> = workers
        .into_iter()
        .map(|(id, seen_ms, mut report)| {
            let held = report.jobs.len();
            report.jobs.retain(|job| may_see(&shared, job));
            let other_jobs = held - report.jobs.len();
            Worker { id, heard_ms_ago: now_ms.saturating_sub(seen_ms), report, other_jobs }
        })
        .collect();
    let body = Json(serde_json::json!({ "workers": workers }));
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Whether the caller may know of a job. There is one tenant for now, and all jobs are its own; once keys
/// tell tenants apart, this is where a job of another one is found out and left out.
fn may_see(_shared: &Shared, _job: &JobId) -> bool {
    true
}
