//! Whether a page of another site sent a request, in a browser that can reach us.
//!
//! Browsers let any page send some kinds of requests to any server and only hide the answer: where no key is
//! needed, that would be enough to change something.

use axum::http::{HeaderMap, Uri, header};

/// Whether the browser says that the page is neither ours nor at an allowed origin.
pub(super) fn is_foreign<'a>(
    uri: &Uri,
    headers: &HeaderMap,
    mut allowed: impl Iterator<Item = &'a String>,
) -> bool {
    // Only browsers send it, and no page can forge it.
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let Ok(origin) = origin.to_str() else { return true };
    // A proxy may end TLS and use another host name, so the scheme says nothing. A page cannot set either header without a
    // preflight request.
    let named = |name: &str| headers.get(name).and_then(|host| host.to_str().ok());
    let hosts = [named("host"), named("x-forwarded-host"), uri.authority().map(|host| host.as_str())];
    let ours = origin.split_once("://").is_some_and(|(_, origin)| hosts.contains(&Some(origin)));
    !ours && !allowed.any(|allowed| allowed == origin)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_our_own_page_and_those_let_in_are_not_foreign() {
        let allowed = ["https://studio.example".to_owned()];
        let foreign = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_foreign(&Uri::from_static("/v1/jobs"), &headers, allowed.iter())
        };
        for ours in [
            None,
            Some("http://localhost:8080"),
            Some("https://localhost:8080"),
            Some("https://studio.example"),
        ] {
            assert!(!foreign(ours), "{ours:?}");
        }
        for other in
            ["null", "", "http://localhost:8081", "http://evil.example", "https://studio.example.evil"]
        {
            assert!(foreign(Some(other)), "{other}");
        }
    }
}
