//! What all requests share.

use std::sync::Arc;

use uso_queue::Queue;
use uso_store::Store;

use crate::access::keys::Keys;
use crate::access::links::Links;
use crate::body::memory::Memory;
use crate::config::Config;
use crate::eta::Paces;
use crate::files::Files;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::page::Page;
use crate::replicate::shape::Shape;
use crate::routes::datasets::known::KnownDatasets;
use crate::routes::datasets::reasons::FailureCounts;
use crate::watch::Watch;

/// What handlers and middleware share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) store: Store,
    pub(crate) config: Config,
    /// One for each shard.
    pub(crate) watches: Vec<Arc<Watch>>,
    pub(crate) metrics: Metrics,
    pub(crate) paces: Paces,
    pub(crate) keys: Keys,
    pub(crate) links: Links,
    /// The fleet's model as Replicate's clients know it.
    pub(crate) shape: Shape,
    /// When this process began, in milliseconds since 1970.
    pub(crate) begun_ms: u64,
    pub(crate) memory: Memory,
    pub(crate) datasets: KnownDatasets,
    pub(crate) failures: FailureCounts,
    pub(crate) page: Page,
    /// Pictures of the examples.
    pub(crate) examples: Files,
    /// The OpenAPI document.
    pub(crate) document: Files,
    pub(crate) notifier: Notifier,
}
