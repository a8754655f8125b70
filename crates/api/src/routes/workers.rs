//! `GET /v1/workers`: who draws.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{JobId, KeyScope, WorkerReport};

use crate::caller::Caller;
use crate::{Problem, Shared};

/// The workers of the fleet.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WorkerList {
    workers: Vec<Worker>,
}

/// A worker, and what it says of itself.
#[derive(Serialize, JsonSchema)]
struct Worker {
    /// Its name.
    id: String,
    /// How long ago it last said something.
    heard_ms_ago: u64,
    /// What it said; of the jobs that it holds only those that the caller may know of.
    #[serde(flatten)]
    report: WorkerReport,
    /// How many more it holds.
    other_jobs: usize,
}

/// All workers that are there.
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

/// Those of the jobs that the caller may know of: its own, or all if it runs the fleet.
async fn visible(shared: &Shared, caller: &Caller, jobs: Vec<JobId>) -> Result<HashSet<JobId>, Problem> {
    if caller.may(KeyScope::Admin) {
        return Ok(jobs.into_iter().collect());
    }
    Ok(shared.queue.owned(&caller.tenant, &jobs).await?.into_iter().collect())
}
