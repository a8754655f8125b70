//! Whether a request was made on this machine, to this machine.
//!
//! A listener on a loopback address is not enough: a proxy may pass on requests from other machines, and a page of
//! another site may give its own host name a loopback address and have a browser on this machine send requests to it.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

/// Headers by which proxies say whose request they pass on.
const HANDED_ON: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Whether the request's host is a name that only means this machine, and no proxy says otherwise.
pub(super) fn asked_here(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = named.or(uri.authority().map(|authority| authority.as_str()));
    host.is_some_and(is_this_machine) && !HANDED_ON.iter().any(|name| headers.contains_key(*name))
}

/// Whether a host, with or without a port, is a loopback address or the name of one.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_machine_are_here() {
        for here in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]"] {
            assert!(is_this_machine(here), "{here}");
        }
        for other in [
            "",
            "example.com",
            "localhost.example.com:8080",
            "127.0.0.1.example.com",
            "10.0.0.1:8080",
            "[fe80::1]",
        ] {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn what_a_proxy_passes_on_is_not_from_here() {
        let uri = Uri::from_static("/v1/jobs");
        let mut headers = HeaderMap::new();
        assert!(!asked_here(&uri, &headers), "without a host nothing is known");
        headers.insert(header::HOST, HeaderValue::from_static("localhost:8080"));
        assert!(asked_here(&uri, &headers));
        for name in HANDED_ON {
            let mut headers = headers.clone();
            headers.insert(name, HeaderValue::from_static("192.0.2.1"));
            assert!(!asked_here(&uri, &headers), "{name}");
        }
        assert!(asked_here(&Uri::from_static("http://127.0.0.1:8080/v1/jobs"), &HeaderMap::new()));
    }
}
