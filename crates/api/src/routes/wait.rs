//! `Prefer: wait=N` (RFC 7240): the answer to a submission may be the job that has ended.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout_at};
use uso_queue::{JobId, JobView};

use super::job_view::{accepted, deleted, describe};
use crate::caller::Caller;
use crate::follow::Follower;
use crate::problem::Problem;
use crate::shared::Shared;

/// Longest wait in seconds: many proxies time out soon after.
pub(crate) const LONGEST: u64 = 60;

/// How long a client wants to wait.
pub(crate) struct Wait {
    seconds: u64,
}

impl Wait {
    /// The wait that the request's headers ask for. Other preferences are ignored.
    pub(crate) fn asked(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let lines = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
        for preference in lines.flat_map(|line| line.split(',')) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            if !name.trim().eq_ignore_ascii_case("wait") {
                continue;
            }
            let value = value.trim().trim_matches('"');
            // Some clients give no number.
            if value.is_empty() {
                return Ok(Some(Self { seconds: LONGEST }));
            }
            return match value.parse::<u64>() {
                Ok(seconds) => Ok(Some(Self { seconds: seconds.min(LONGEST) })),
                Err(_) => {
                    let detail = format!("Prefer: wait=N takes whole seconds, at most {LONGEST}");
                    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_preference", detail))
                }
            };
        }
        Ok(None)
    }

    /// The wait as the answer's header names it.
    pub(crate) fn applied(&self) -> String {
        format!("wait={}", self.seconds)
    }

    /// The job once it has ended, or as it was if it does not end in time. It is accepted either way, so errors from
    /// here on are not the answer.
    pub(crate) async fn until_end(&self, shared: &Arc<Shared>, id: JobId) -> Result<JobView, Problem> {
        let view = shared.queue.view(&id).await?.ok_or_else(|| deleted(&id))?;
        let until = Instant::now() + Duration::from_secs(self.seconds);
        match timeout_at(until, end_of(shared, view.clone())).await {
            Ok(Ok(Some(ended))) => return Ok(ended),
            Ok(Err(error)) => {
                tracing::warn!(job.id = %id, %error, "a client could not wait for its job");
            }
            Ok(Ok(None)) | Err(_) => {}
        }
        Ok(view)
    }

    /// The finished job, or where to find it if it does not end in time.
    pub(super) async fn for_job(
        self,
        shared: &Arc<Shared>,
        caller: &Caller,
        id: JobId,
    ) -> Result<Response, Problem> {
        let view = self.until_end(shared, id).await?;
        let mut response = if view.state.is_terminal() {
            let headers =
                [(header::LOCATION, format!("/v1/jobs/{id}")), (header::CACHE_CONTROL, "no-store".into())];
            (headers, Json(describe(shared, caller, &view).await?)).into_response()
        } else {
            accepted(&id, view.state, &view.spec)?
        };
        if let Ok(applied) = self.applied().parse() {
            response.headers_mut().insert("preference-applied", applied);
        }
        Ok(response)
    }
}

/// The job once it has ended; none if this process stops before.
async fn end_of(shared: &Shared, view: JobView) -> Result<Option<JobView>, uso_queue::Error> {
    if view.state.is_terminal() {
        return Ok(Some(view));
    }
    let id = view.id;
    let Some(watch) = shared.watches.get(usize::from(id.shard())) else { return Ok(None) };
    let Some(mut follower) = Follower::new(watch, &shared.queue, view, None).await? else { return Ok(None) };
    while follower.next().await.is_some() {}
    if !follower.has_ended() {
        return Ok(None);
    }
    shared.queue.view(&id).await
}
