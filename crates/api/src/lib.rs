//! HTTP over queue and store: submit a job, look at it, watch it, cancel it, fetch its picture.
//!
//! Requests become checked types here, at the edge; every refusal is a problem document (RFC 9457)
//! that names each bad field. [`Api::serve`] runs it; `watch.rs` tells how one reader of the event
//! stream serves any number of clients.

mod eta;
mod metrics;
mod problem;
mod routes;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uso_queue::{Defaults, Queue, WorkerId};
use uso_store::Store;

use eta::Paces;
use metrics::Metrics;
use watch::Watch;

pub use problem::Problem;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct Config {
    /// What a job that leaves a parameter out gets; from the model that the fleet runs.
    pub defaults: Defaults,
    /// How long presigned URLs live.
    pub link_lifetime: Duration,
    /// Whose jobs these are, as long as there are no keys to tell.
    pub tenant: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            defaults: Defaults::default(),
            link_lifetime: Duration::from_secs(60 * 60),
            tenant: "default".to_owned(),
        }
    }
}

/// Everything that a request may need.
struct Shared {
    queue: Queue,
    store: Store,
    config: Config,
    /// One for each shard.
    watches: Vec<Watch>,
    metrics: Metrics,
    paces: Paces,
}

/// The API of one fleet.
pub struct Api(Arc<Shared>);

impl Api {
    /// Puts the API together; `registry` is what `/metrics` shows.
    ///
    /// # Errors
    /// If `registry` already has an API's metrics.
    pub fn new(
        queue: Queue,
        store: Store,
        config: Config,
        registry: prometheus::Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry)?;
        let watches = queue.shards().map(Watch::new).collect();
        Ok(Self(Arc::new(Shared { watches, queue, store, config, metrics, paces: Paces::default() })))
    }

    /// Serves until `stop`, then lets running requests end; event streams are closed.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let reaper = {
            let (queue, stop) = (self.0.queue.clone(), stop.clone());
            tokio::spawn(async move { queue.reap_until(&WorkerId::new(), stop).await })
        };
        let watching = {
            let (shared, stop) = (Arc::clone(&self.0), stop.clone());
            tokio::spawn(async move {
                let reads = shared.watches.iter().map(|watch| watch.run(&shared.queue, stop.clone()));
                futures::future::join_all(reads).await
            })
        };
        let served = axum::serve(listener, router(self.0))
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .await;
        stop.cancel();
        // The tasks only fail by a panic, which has been reported where it happened.
        let _ = tokio::join!(reaper, watching);
        served
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/jobs", post(routes::jobs::submit))
        .route("/v1/jobs/{id}", get(routes::jobs::show))
        .route("/v1/jobs/{id}/events", get(routes::events::follow))
        .route("/v1/jobs/{id}/preview", get(routes::jobs::preview))
        .route("/v1/jobs/{id}/result", get(routes::jobs::result))
        .route("/v1/jobs/{id}/cancel", post(routes::steer::cancel))
        .route("/v1/jobs/{id}/retry", post(routes::steer::retry))
        .route("/v1/workers", get(routes::workers::list))
        .route("/v1/estimate", post(routes::estimate::estimate))
        .route("/v1/uploads", post(routes::uploads::create))
        .route("/healthz", get(routes::health::alive))
        .route("/readyz", get(routes::health::ready))
        .route("/metrics", get(routes::health::metrics))
        .fallback(routes::no_such_route)
        .method_not_allowed_fallback(routes::no_such_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), metrics::count))
        .with_state(shared)
}
