//! How fast a tenant may submit: the header fields `RateLimit-Policy` and `RateLimit` of the IETF draft
//! (draft-ietf-httpapi-ratelimit-headers), on every answer to a submission or an upload.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use uso_queue::{Allowance, Queue};

use crate::access::cache::Cache;
use crate::caller::Caller;

/// Routes that count towards a tenant's rate.
const COUNTED: [&str; 6] = [
    "/v1/jobs",
    "/v1/batches",
    "/v1/predictions",
    "/v1/models/{owner}/{name}/predictions",
    "/v1/uploads",
    "/v1/files",
];

/// Longest wait for the numbers: the answer itself is ready.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a tenant without a limit is remembered.
const UNLIMITED_LIFE: Duration = Duration::from_secs(3);

/// The rates of tenants.
pub(crate) struct RateLimits {
    queue: Queue,
    /// Tenants that had no limit lately.
    unlimited: Cache<()>,
}

impl RateLimits {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, unlimited: Cache::new(UNLIMITED_LIFE) }
    }

    /// What is left of a tenant's rate; none without a limit, or if the queue does not answer soon.
    async fn allowance(&self, tenant: &str) -> Option<Allowance> {
        if self.unlimited.get(tenant).is_some() {
            return None;
        }
        let asked = tokio::time::timeout(PATIENCE, self.queue.allowance(tenant)).await;
        let found = asked.ok()?.ok()?;
        if found.is_none() {
            self.unlimited.put(tenant, ());
        }
        found
    }
}

/// Adds to the answer to a submission how much of the tenant's rate is left.
pub(crate) async fn add_headers(
    State(limits): State<Arc<RateLimits>>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let takes =
        request.method() == Method::POST && route.is_some_and(|route| COUNTED.contains(&route.as_str()));
    let caller = request.extensions().get::<Caller>().filter(|_| takes).cloned();
    let mut response = next.run(request).await;
    let Some(caller) = caller else { return response };
    if response.status().is_server_error() {
        return response;
    }
    if let Some(allowance) = limits.allowance(&caller.tenant).await {
        for (name, value) in fields(&allowance) {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

/// The two fields: a full bucket as quota, the time it takes to fill as window; then what is left, and when
/// it is full again.
fn fields(allowance: &Allowance) -> [(&'static str, String); 2] {
    let Allowance { per_second, burst, left } = *allowance;
    let seconds = |jobs: f64| (jobs / per_second).ceil().max(0.0) as u64;
    let (quota, window) = (burst.max(1.0) as u64, seconds(burst).max(1));
    [
        ("ratelimit-policy", format!("\"submit\";q={quota};w={window}")),
        ("ratelimit", format!("\"submit\";r={};t={}", left.max(0.0) as u64, seconds(burst - left))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_structured_and_whole() {
        let values = |per_second, burst, left| fields(&Allowance { per_second, burst, left }).map(|(_, v)| v);
        assert_eq!(values(2.0, 20.0, 12.5), [r#""submit";q=20;w=10"#, r#""submit";r=12;t=4"#]);
        // More than a burst was taken at once.
        assert_eq!(values(0.5, 3.0, -7.0), [r#""submit";q=3;w=6"#, r#""submit";r=0;t=20"#]);
        assert_eq!(values(1e9, 1e9, 1e9), [r#""submit";q=1000000000;w=1"#, r#""submit";r=1000000000;t=0"#]);
        assert_eq!(values(0.1, 0.1, 0.1), [r#""submit";q=1;w=1"#, r#""submit";r=0;t=0"#]);
    }
}
