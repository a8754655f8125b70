//! Pages of others that may ask here and read the answers (CORS).

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// For how long a browser need not ask again whether it may.
const BELIEVED: Duration = Duration::from_secs(600);

/// Lets pages of these origins, if there are any, send what our own page sends, but no cookies: they show a key.
pub(crate) fn let_in<S: Clone + Send + Sync + 'static>(router: Router<S>, origins: &[String]) -> Router<S> {
    if origins.is_empty() { router } else { router.layer(layer(origins)) }
}

fn layer(origins: &[String]) -> CorsLayer {
    let name = HeaderName::from_static;
    // What cannot be a header is no origin of a page.
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CACHE_CONTROL,
            name("idempotency-key"),
            name("last-event-id"),
            name("prefer"),
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            name("preference-applied"),
            name("ratelimit"),
            name("ratelimit-policy"),
        ])
        .max_age(BELIEVED)
}
