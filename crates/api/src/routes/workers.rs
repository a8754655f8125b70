//! `GET /v1/workers`: the workers of the fleet.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{JobId, KeyScope, WorkerReport};

use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::problem::Problem;
use crate::shared::Shared;

/// The workers of the fleet.
#[derive(Serialize, JsonSchema)]
struct WorkerList {
    workers: Vec<Worker>,
}

/// A worker and its report.
#[derive(Serialize, JsonSchema)]
struct Worker {
    /// Its id.
    id: String,
    /// Milliseconds since its last report.
    heard_ms_ago: u64,
    /// Its report; of its jobs only those that the caller may see.
    #[serde(flatten)]
    report: WorkerReport,
    /// How many other jobs it holds.
    other_jobs: usize,
}

pub(crate) fn list_operation() -> Operation {
    let operation = Operation::new("listWorkers", "List the workers");
    operation.gives::<WorkerList>(StatusCode::OK, "Those that run.", &[])
}

/// All workers that run.
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Problem> {
    let workers = shared.queue.workers().await?;
    let now_ms = shared.queue.now_ms().await?;
    let held: Vec<JobId> = workers.iter().flat_map(|(_, _, report)| report.jobs.iter().copied()).collect();
    let seen = visible(&shared, &caller, held).await?;
    let workers: Vec<Worker> = workers
        .into_iter()
        .map(|(id, seen_ms, mut report)| {
            let held = report.jobs.len();
            report.jobs.retain(|job| seen.contains(job));
            let other_jobs = held - report.jobs.len();
            Worker { id, heard_ms_ago: now_ms.saturating_sub(seen_ms), report, other_jobs }
        })
        .collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(WorkerList { workers })).into_response())
}

/// The jobs that the caller may see: its own, or all with the scope `admin`.
async fn visible(shared: &Shared, caller: &Caller, jobs: Vec<JobId>) -> Result<HashSet<JobId>, Problem> {
    if caller.may(KeyScope::Admin) {
        return Ok(jobs.into_iter().collect());
    }
    Ok(shared.queue.owned(&caller.tenant, &jobs).await?.into_iter().collect())
}
