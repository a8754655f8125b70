//! A worker's HTTP endpoints: whether it lives, whether it takes work, and its metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uso_queue::WorkerState;
use uso_worker::Condition;

/// How long open connections may delay shutdown.
const LINGER: Duration = Duration::from_secs(1);

/// `/healthz`, `/readyz` and `/metrics`.
pub(crate) struct Health {
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Health {
    /// Starts to answer at once, so that operators see the model being loaded.
    ///
    /// # Errors
    /// If it cannot listen at `address`.
    pub(crate) async fn start(
        address: SocketAddr,
        registry: Registry,
        condition: Condition,
    ) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let stop = CancellationToken::new();
        let served = axum::serve(listener, routes(registry, condition));
        let served = served.with_graceful_shutdown(stop.clone().cancelled_owned());
        Ok(Self { stop, task: tokio::spawn(served.into_future()) })
    }

    /// Stops the server.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        match tokio::time::timeout(LINGER, &mut self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(ended) => tracing::warn!(?ended, "the health server failed"),
            Err(_) => self.task.abort(),
        }
    }
}

fn routes(registry: Registry, condition: Condition) -> Router {
    let metrics =
        move || async move { TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default() };
    let its = condition.clone();
    Router::new()
        .route("/healthz", get(move || async move { health(its.get()) }))
        .route("/readyz", get(move || async move { readiness(condition.get()) }))
        .route("/metrics", get(metrics))
}

/// A worker lives unless its device hangs.
fn health(state: WorkerState) -> (StatusCode, String) {
    let status = if state == WorkerState::Stuck { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, format!("{}\n", state.as_str()))
}

fn readiness(state: WorkerState) -> (StatusCode, String) {
    let status = if state == WorkerState::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", state.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_lives_while_it_loads_and_is_ready_when_it_claims() {
        for (state, lives, ready) in [
            (WorkerState::Starting, 200, 503),
            (WorkerState::SelfTest, 200, 503),
            (WorkerState::Ready, 200, 200),
            (WorkerState::WaitingForStore, 200, 503),
            (WorkerState::Draining, 200, 503),
            (WorkerState::Stuck, 503, 503),
        ] {
            assert_eq!(health(state).0.as_u16(), lives, "{state:?}");
            assert_eq!(readiness(state).0.as_u16(), ready, "{state:?}");
        }
    }
}
