#![doc = include_str!("../README.md")]

mod access;
mod body;
mod caller;
mod config;
mod cors;
mod edge;
mod eta;
mod examples;
mod files;
mod follow;
mod idempotency;
mod intake;
mod job_links;
mod keep;
mod metrics;
mod notify;
mod openapi;
mod origin;
mod page;
mod path;
mod problem;
mod query;
mod rate_limit;
mod reference_access;
mod reference_policy;
mod references;
mod replicate;
mod routes;
mod serve;
mod shared;
mod sse;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uso_queue::{Queue, WorkerId};
use uso_store::Store;

use access::keys::Keys;
use access::links::Links;
use body::memory::Memory;
use eta::Paces;
use files::Files;
use metrics::Metrics;
use notify::Notifier;
use notify::payload::Payloads;
use page::Page;
use rate_limit::RateLimits;
use replicate::shape::Shape;
use routes::datasets::known::KnownDatasets;
use routes::datasets::reasons::FailureCounts;
use shared::Shared;
use watch::Watch;

pub use access::mode::Access;
pub use config::Config;
pub use examples::{Example, Examples};
pub use keep::{KeepError, keep_what_is_named};
pub use problem::Problem;
pub use reference_policy::AllowedPrefix;

/// How long a queue of an API may wait for Redis: short enough that a client learns within a second that
/// Redis is not available.
pub const QUEUE_TIMEOUT: Duration = Duration::from_millis(800);

/// Why an API cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry already has an API's metrics.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The HTTP client for webhooks cannot be created.
    #[error("webhooks: {0}")]
    Webhooks(#[from] reqwest::Error),
}

/// The API of one fleet.
pub struct Api {
    shared: Arc<Shared>,
    routes: Router<Arc<Shared>>,
}

impl Api {
    /// Creates the API; `/metrics` shows what is in `registry`.
    ///
    /// # Errors
    /// If `registry` already has an API's metrics, or TLS cannot be set up.
    pub fn new(
        queue: Queue,
        store: Store,
        config: Config,
        registry: prometheus::Registry,
    ) -> Result<Self, Error> {
        let metrics = Metrics::new(registry)?;
        let ended = Arc::new(Notify::new());
        let watches = queue.shards().map(|shard| Arc::new(Watch::new(shard, Arc::clone(&ended)))).collect();
        let page = Page::new(&store.public_origin());
        let examples = Files::new(config.examples.pictures.iter().cloned());
        let shape = Shape::new(&config.model);
        let payloads = Payloads::new(config.public_url.as_deref(), shape.clone());
        let notifier = Notifier::new(queue.clone(), config.private_webhooks, payloads, ended)?;
        let (routes, document) = routes::table(&config, store.config().max_bytes);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Shared {
            watches,
            metrics,
            paces: Paces::default(),
            keys: Keys::new(queue.clone()),
            links: Links::new(queue.clone(), config.link_lifetime),
            queue,
            store,
            config,
            shape,
            begun_ms: since.as_millis() as u64,
            memory: Memory::new(),
            datasets: KnownDatasets::new(),
            failures: FailureCounts::new(),
            notifier,
            page,
            examples,
            document,
        };
        Ok(Self { shared: Arc::new(shared), routes })
    }

    /// Serves until `stop`, then lets running requests finish. Event streams end with the time after which the client
    /// should reconnect.
    ///
    /// # Errors
    /// None yet: only single connections and requests fail.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let reaper = {
            let (queue, stop) = (self.shared.queue.clone(), stop.clone());
            tokio::spawn(async move { queue.reap_until(&WorkerId::new(), stop).await })
        };
        let watching = {
            let (shared, stop) = (Arc::clone(&self.shared), stop.clone());
            tokio::spawn(async move {
                let reads = shared.watches.iter().map(|watch| watch.run(&shared.queue, stop.clone()));
                futures::future::join_all(reads).await
            })
        };
        let keeping = {
            let (shared, stop) = (Arc::clone(&self.shared), stop.clone());
            tokio::spawn(async move { keep::keep_until(&shared.queue, &shared.store, stop).await })
        };
        let notifying = tokio::spawn(self.shared.notifier.clone().run(stop.clone()));
        let most = self.shared.config.max_connections.unwrap_or_else(serve::most_by_default);
        serve::serve(listener, router(self.shared, self.routes), most, stop).await;
        // The tasks only fail by a panic, which has been reported where it happened.
        let _ = tokio::join!(reaper, watching, keeping, notifying);
        Ok(())
    }
}

/// The routes, and what all requests pass through before them.
fn router(shared: Arc<Shared>, routes: Router<Arc<Shared>>) -> Router {
    let limits = Arc::new(RateLimits::new(shared.queue.clone()));
    let router = routes
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::no_such_method())
        .layer(from_fn_with_state(limits, rate_limit::add_headers))
        .layer(from_fn_with_state(Arc::clone(&shared), access::admit));
    // Outside of everything that refuses requests: pages of other sites must be able to read refusals, too.
    cors::allow_origins(router, &shared.config.cors_origins)
        .layer(from_fn(edge::guard))
        .layer(from_fn_with_state(shared.metrics.clone(), metrics::count))
        .with_state(shared)
}
