//! The web page: `/` and what it is made of.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::Shared;
use crate::files::Files;
use crate::path::Path;

/// The files of the page, by their path inside its folder.
static FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The page, and what a browser may do with it.
pub(crate) struct Page {
    files: Files,
    policy: HeaderValue,
}

impl Page {
    /// `store` is where pictures are fetched from and put to: scheme, host and port.
    pub(crate) fn new(store: &str) -> Self {
        let policy = format!(
            "default-src 'self'; img-src 'self' data: blob: {store}; connect-src 'self' {store}; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        );
        let files = Files::new(FILES.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)));
        let nothing = HeaderValue::from_static("default-src 'none'");
        Self { files, policy: HeaderValue::try_from(policy).unwrap_or(nothing) }
    }
}

pub(crate) async fn index(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    answer(&shared, "index.html", &headers).await
}

pub(crate) async fn file(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(&shared, &name, &headers).await
}

async fn answer(shared: &Shared, name: &str, headers: &HeaderMap) -> Response {
    let Some(mut response) = shared.page.files.answer(name, headers) else {
        return super::no_such_route().await.into_response();
    };
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, shared.page.policy.clone());
    response
}
