//! What the API counts, and its access log.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::{HistogramOpts, HistogramVec, IntGaugeVec, Opts, Registry, TextEncoder};
use uso_queue::Stats;

/// Metrics of one process: the API's own, and whatever else is in its registry.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    jobs: IntGaugeVec,
}

impl Metrics {
    pub(crate) fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        let requests = HistogramVec::new(
            HistogramOpts::new("uso_api_request_seconds", "Time until a request is answered"),
            &["method", "route", "status"],
        )?;
        let jobs = IntGaugeVec::new(
            Opts::new(
                "uso_queue_jobs",
                "Jobs that wait (delayed ones included), run, or wait for a time, by class",
            ),
            &["class", "state"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(jobs.clone()))?;
        Ok(Self { registry, requests, jobs })
    }

    /// All metrics in the text format of Prometheus; the queue's numbers only if they could be read.
    pub(crate) fn text(&self, stats: Option<Stats>) -> Result<String, prometheus::Error> {
        self.jobs.reset();
        if let Some(stats) = stats {
            for (class, depth) in [("interactive", stats.interactive), ("bulk", stats.bulk)] {
                for (state, jobs) in
                    [("queued", depth.queued), ("running", depth.running), ("delayed", depth.delayed)]
                {
                    self.jobs.with_label_values(&[class, state]).set(jobs as i64);
                }
            }
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Counts and logs a request under its route, never under its path: there is no end of ids.
pub(crate) async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let (status, took) = (response.status(), begun.elapsed());
    // A client may send any word as method.
    let known = matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS");
    let label = if known { method.as_str() } else { "other" };
    metrics.requests.with_label_values(&[label, &route, status.as_str()]).observe(took.as_secs_f64());
    tracing::debug!(%method, route, status = status.as_u16(), took_ms = took.as_millis() as u64, "answered");
    response
}
