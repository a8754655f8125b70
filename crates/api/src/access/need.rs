//! What a request needs, by its method and route.

use axum::http::Method;
use uso_queue::KeyScope;

/// What a request needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// A key with any scopes.
    AnyKey,
    Scope(KeyScope),
}

impl Need {
    pub(crate) fn of(method: &Method, route: Option<&str>) -> Self {
        match route {
            Some("/v1/session") if *method == Method::POST => Self::Nothing,
            Some("/v1/session") => Self::AnyKey,
            // Dead letters belong to all tenants.
            Some("/metrics" | "/v1/dead") => Self::Scope(KeyScope::Admin),
            // It changes nothing.
            Some("/v1/estimate") => Self::Scope(KeyScope::Read),
            // Its answer is a secret.
            Some("/v1/webhooks/default/secret") => Self::Scope(KeyScope::Submit),
            Some(route) if route.starts_with("/v1/") && method.is_safe() => Self::Scope(KeyScope::Read),
            Some(route) if route.starts_with("/v1/") => Self::Scope(KeyScope::Submit),
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_closed_unless_it_is_known_to_be_open() {
        let need = |method: Method, route| Need::of(&method, Some(route));
        assert_eq!(need(Method::GET, "/healthz"), Need::Nothing);
        assert_eq!(need(Method::GET, "/readyz"), Need::Nothing);
        assert_eq!(need(Method::GET, "/metrics"), Need::Scope(KeyScope::Admin));
        assert_eq!(need(Method::GET, "/v1/dead"), Need::Scope(KeyScope::Admin));
        assert_eq!(need(Method::GET, "/page/{*name}"), Need::Nothing);
        assert_eq!(need(Method::GET, "/v1/anything/new"), Need::Scope(KeyScope::Read));
        assert_eq!(need(Method::HEAD, "/v1/jobs/{id}"), Need::Scope(KeyScope::Read));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(need(method, "/v1/anything/new"), Need::Scope(KeyScope::Submit));
        }
        assert_eq!(need(Method::GET, "/v1/webhooks/default/secret"), Need::Scope(KeyScope::Submit));
        assert_eq!(need(Method::POST, "/v1/session"), Need::Nothing);
        assert_eq!(need(Method::DELETE, "/v1/session"), Need::AnyKey);
        assert_eq!(Need::of(&Method::POST, None), Need::Nothing);
    }
}
