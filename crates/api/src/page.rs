//! The files of the web page.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::files::Files;

/// The files of the page, by name.
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

    /// A file of the page, or that the client has it; none if there is no such file.
    pub(crate) fn answer(&self, name: &str, headers: &HeaderMap) -> Option<Response> {
        let mut response = self.files.answer(name, headers)?;
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        Some(response)
    }
}
