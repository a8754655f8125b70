//! Settings of the API.

use std::time::Duration;

use uso_queue::Defaults;

use crate::access::mode::Access;
use crate::examples::Examples;
use crate::reference_policy::AllowedPrefix;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct Config {
    /// Values of parameters that a request leaves out; from the model that the fleet runs.
    pub defaults: Defaults,
    /// How long presigned URLs are valid.
    pub link_lifetime: Duration,
    /// Who may call the API.
    pub access: Access,
    /// The tenant of all requests where no key is needed.
    pub tenant: String,
    /// Where references may come from, besides a tenant's own uploads and outputs. Where no key is needed,
    /// all of the fleet's own bucket is allowed, too.
    pub references: Vec<AllowedPrefix>,
    /// The name of the model.
    pub model: String,
    /// Whether a test engine makes the pictures.
    pub scripted: bool,
    /// Most pixels of a reference image.
    pub max_pixels: u64,
    /// Longest side of a reference image in pixels.
    pub max_side: u32,
    /// Example requests, shown to new users.
    pub examples: Examples,
    /// Whether webhooks may lead to private addresses, and over plain http.
    pub private_webhooks: bool,
    /// Where clients reach the API: scheme, host and port. Without it, links use the host of the request, and links
    /// in webhooks are paths without a host.
    pub public_url: Option<String>,
    /// Origins of other sites whose pages may call the API and read its answers.
    pub cors_origins: Vec<String>,
    /// Most connections at once. Without it, the limit follows from how many files the process may open.
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
