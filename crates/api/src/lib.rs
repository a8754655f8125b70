#![doc = include_str!("../README.md")]

mod access;
mod body;
mod caller;
mod cors;
mod edge;
mod eta;
mod files;
mod follow;
mod intake;
mod keep;
mod limits;
mod metrics;
mod notify;
mod openapi;
mod origin;
mod path;
mod places;
mod problem;
mod query;
mod references;
mod repeats;
mod replicate;
mod routes;
mod serve;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uso_queue::{Defaults, Queue, WorkerId};
use uso_store::Store;

use access::{Known, Links};
use body::Room;
use eta::Paces;
use files::Files;
use limits::Unlimited;
use metrics::Metrics;
use notify::{Notifier, Teller};
use replicate::Shape;
use routes::page::Page;
use watch::Watch;

pub use access::Access;
pub use keep::{KeepError, keep_what_is_named};
pub use places::ReferencePlace;
pub use problem::Problem;
pub use routes::capabilities::{Example, Examples};

/// How long a queue of an API may wait for Redis: short enough that a client hears within a second that it
/// is away.
pub const QUEUE_TIMEOUT: Duration = Duration::from_millis(800);

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct Config {
    /// What a job that leaves a parameter out gets; from the model that the fleet runs.
    pub defaults: Defaults,
    /// How long presigned URLs live.
    pub link_lifetime: Duration,
    /// Whom it lets in.
    pub access: Access,
    /// Whose jobs these are, if everybody is let in and no key tells.
    pub tenant: String,
    /// Where references may come from, besides a tenant's own uploads and outputs. While everybody is let
    /// in, all of the fleet's own bucket is one of these places.
    pub references: Vec<ReferencePlace>,
    /// What is drawn with, by name.
    pub model: String,
    /// Whether what is drawn is not real.
    pub scripted: bool,
    /// Most pixels of a reference image.
    pub max_pixels: u64,
    /// Longest side of a reference image in pixels.
    pub max_side: u32,
    /// What a newcomer can begin with.
    pub examples: Examples,
    /// Whether webhooks may lead to private addresses, and over plain http.
    pub private_webhooks: bool,
    /// Where clients reach the API: scheme, host and port. Without it, links say what the request said, and those
    /// in webhooks are paths alone.
    pub public_url: Option<String>,
    /// Origins of pages of others that may ask and read answers.
    pub cors_origins: Vec<String>,
    /// Most connections at once; without it, as many as leave room for others among the files that the process may
    /// open.
    pub max_connections: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            defaults: Defaults::default(),
            link_lifetime: Duration::from_secs(60 * 60),
            access: Access::default(),
            tenant: "default".to_owned(),
            references: Vec::new(),
            model: String::new(),
            scripted: false,
            max_pixels: 50_000_000,
            max_side: 16_384,
            examples: Examples::default(),
            private_webhooks: false,
            public_url: None,
            cors_origins: Vec::new(),
            max_connections: None,
        }
    }
}

/// Why an API cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry has an API's metrics already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The client that tells endpoints cannot be made.
    #[error("webhooks: {0}")]
    Webhooks(#[from] reqwest::Error),
}

/// Everything that a request may need.
struct Shared {
    queue: Queue,
    store: Store,
    config: Config,
    /// One for each shard.
    watches: Vec<Arc<Watch>>,
    metrics: Metrics,
    paces: Paces,
    known: Known,
    links: Links,
    /// The fleet's model as Replicate's clients know it.
    shape: Shape,
    /// When this process began, in milliseconds since 1970.
    begun_ms: u64,
    unlimited: Unlimited,
    room: Room,
    page: Page,
    /// Pictures of the examples.
    examples: Files,
    /// What describes the API.
    document: Files,
    notifier: Notifier,
}

/// The API of one fleet.
pub struct Api {
    shared: Arc<Shared>,
    operations: Router<Arc<Shared>>,
}

impl Api {
    /// Puts the API together; `registry` is what `/metrics` shows.
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
        let teller = Teller::new(config.public_url.as_deref(), shape.clone());
        let notifier = Notifier::new(queue.clone(), config.private_webhooks, teller, ended)?;
        let (operations, document) = openapi::routes(&config, store.config().max_bytes);
        let (known, unlimited, paces) = (Known::new(), Unlimited::new(), Paces::default());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Shared {
            watches,
            queue,
            store,
            config,
            metrics,
            paces,
            known,
            links: Links::new(),
            shape,
            begun_ms: since.as_millis() as u64,
            unlimited,
            room: Room::new(),
            notifier,
            page,
            examples,
            document,
        };
        Ok(Self { shared: Arc::new(shared), operations })
    }

    /// Serves until `stop`, then lets running requests end; event streams tell when to come back, and end.
    ///
    /// # Errors
    /// None for now: what fails is a connection or a request.
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
        serve::serve(listener, router(self.shared, self.operations), most, stop).await;
        // The tasks only fail by a panic, which has been reported where it happened.
        let _ = tokio::join!(reaper, watching, keeping, notifying);
        Ok(())
    }
}

/// All routes: `operations`, which the document describes, and the files of the page.
fn router(shared: Arc<Shared>, operations: Router<Arc<Shared>>) -> Router {
    let router = operations
        .route("/examples/{name}", get(routes::capabilities::example))
        .route("/", get(routes::page::index))
        .route("/page/{*name}", get(routes::page::file))
        .fallback(routes::no_such_route)
        .method_not_allowed_fallback(routes::no_such_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), limits::tell))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), access::admit));
    // Outside of all that refuses: refusals too are to be read.
    cors::let_in(router, &shared.config.cors_origins)
        .layer(axum::middleware::from_fn(edge::guard))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), metrics::count))
        .with_state(shared)
}
