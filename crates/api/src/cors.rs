//! Pages of other sites that may call the API and read its answers (CORS).

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may use the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Lets pages of these origins, if there are any, send what our own page sends, but no cookies: they need a key.
pub(crate) fn allow_origins<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    origins: &[String],
) -> Router<S> {
    if origins.is_empty() { router } else { router.layer(layer(origins)) }
}

fn layer(origins: &[String]) -> CorsLayer {
    let name = HeaderName::from_static;
    // What cannot be a header cannot be an origin.
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
        .max_age(MAX_AGE)
}
