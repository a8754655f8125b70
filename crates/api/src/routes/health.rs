//! `/healthz`, `/readyz`, `/metrics`.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::openapi::operation::Operation;
use crate::problem::Problem;
use crate::shared::Shared;

pub(crate) fn alive_operation() -> Operation {
    let text = json!({ "type": "string" });
    Operation::new("isAlive", "Check that the process runs").gives_other("text/plain", text, "It runs.")
}

/// The process runs and answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Longest wait for queue and store: most health checks give up after a second or two.
const READY_WITHIN: Duration = Duration::from_millis(1500);

pub(crate) fn ready_operation() -> Operation {
    Operation::new("isReady", "Check that requests can succeed")
        .gives_other("text/plain", json!({ "type": "string" }), "Queue and object store answer.")
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["not_ready"])
}

/// Queue and store answer: requests can succeed.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Result<&'static str, Problem> {
    let (queue, store) = tokio::join!(soon(shared.queue.ping()), soon(shared.store.ping()));
    let faults: Vec<String> = [
        queue.err().map(|error| format!("queue: {error}")),
        store.err().map(|error| format!("store: {error}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if faults.is_empty() {
        return Ok("ready\n");
    }
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", faults.join("; "));
    Err(problem.later(Duration::from_secs(2)))
}

/// A call's result, or that it did not answer in time.
async fn soon<E: Display>(call: impl Future<Output = Result<(), E>>) -> Result<(), String> {
    match tokio::time::timeout(READY_WITHIN, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {READY_WITHIN:?}")),
    }
}

pub(crate) fn metrics_operation() -> Operation {
    Operation::new("getMetrics", "Get the metrics")
        .says("In the text format of Prometheus.")
        .gives_other("text/plain", json!({ "type": "string" }), "The metrics.")
        .refuses(StatusCode::INTERNAL_SERVER_ERROR, &["no_metrics"])
}

/// Metrics in the text format of Prometheus.
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let stats = shared.queue.stats().await.ok();
    match shared.metrics.text(stats) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            let detail = error.to_string();
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_metrics", detail).into_response()
        }
    }
}
