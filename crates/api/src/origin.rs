//! Where a client reaches the API, for absolute links.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::problem::Problem;
use crate::shared::Shared;

/// Scheme, host and port.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// As the settings say, or else as this request says.
    text: String,
    /// As this request says.
    asked: String,
}

impl Origin {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// All origins that are known to lead to this API.
    pub(crate) fn all(&self) -> [&str; 2] {
        [&self.text, &self.asked]
    }

    fn of(configured: Option<&str>, parts: &Parts) -> Self {
        let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let host = host.or(parts.uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
        let scheme = if over_https(&parts.headers) { "https" } else { "http" };
        let asked = format!("{scheme}://{host}");
        Self { text: configured.map_or_else(|| asked.clone(), str::to_owned), asked }
    }
}

impl FromRequestParts<Arc<Shared>> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        Ok(Self::of(shared.config.public_url.as_deref(), parts))
    }
}

/// Whether the client uses https: a proxy may end TLS. A client that lies only gets links and cookies that do not
/// work for it.
pub(crate) fn over_https(headers: &HeaderMap) -> bool {
    let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok()).unwrap_or_default();
    proto.split(',').next().unwrap_or_default().trim().eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn what_the_operator_says_counts_and_what_was_asked_leads_here_too() {
        let request = Request::get("/x").header("host", "10.0.0.1:80").header("x-forwarded-proto", "https");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(Origin::of(None, &parts).text(), "https://10.0.0.1:80");
        let named = Origin::of(Some("https://pictures.example"), &parts);
        assert_eq!(named.all(), ["https://pictures.example", "https://10.0.0.1:80"]);
    }
}
