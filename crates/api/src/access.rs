//! Who asks, and whether they may.
//!
//! [`admit`] stands before all routes. It finds out whose request it is, from a key or from the session that
//! a browser opened with one, and hands the [`Caller`] on to the route; a route can get no tenant from
//! anywhere else. What a route asks for follows from its path and method alone, so that a new one is closed
//! until somebody opens it.

mod credential;
mod here;
mod links;
mod page;
mod recent;
mod refusal;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use uso_queue::{ApiKey, KeyScope, KeyView, Queue, SessionToken};

use crate::caller::Caller;
use crate::{Config, Problem, Shared};
use credential::Credential;
pub(crate) use links::Links;
pub(crate) use recent::Recent;
pub(crate) use refusal::Refusal;

/// For how long a process believes what it has read about a key: a revoked one opens nothing after that.
const BELIEVED: Duration = Duration::from_secs(3);

/// The cookie with a session's token.
pub(crate) const SESSION_COOKIE: &str = "uso_session";
/// The header in which a page repeats what the readable cookie says.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// Whom the API lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Everybody, as the one tenant of the settings and with all scopes. Keys are not looked at.
    #[default]
    Open,
    /// As `Open`, but only who asks on this machine, and not through a proxy.
    Local,
    /// Whoever has a key, as the key's tenant.
    Keys,
}

impl Access {
    /// The word used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open | Self::Local => "open",
            Self::Keys => "keys",
        }
    }
}

/// What a process has read about keys and sessions lately.
pub(crate) struct Known(Recent<KeyView>);

impl Known {
    pub(crate) fn new() -> Self {
        Self(Recent::new(BELIEVED))
    }

    /// What is known of a whole key, if it opens anything.
    pub(crate) async fn key(&self, queue: &Queue, key: &ApiKey) -> Result<Option<KeyView>, Problem> {
        let name = key.prefix();
        let found = match self.0.get(name) {
            Some(view) => Some(view),
            None => queue.find_key(name).await?.inspect(|view| self.0.put(name, view.clone())),
        };
        Ok(found.filter(|view| view.is_of(key)))
    }

    /// The key that opened a session.
    async fn session(&self, queue: &Queue, token: &SessionToken) -> Result<Option<KeyView>, Problem> {
        let name = session_name(token);
        if let Some(view) = self.0.get(&name) {
            return Ok(Some(view));
        }
        Ok(queue.find_session(token).await?.inspect(|view| self.0.put(&name, view.clone())))
    }

    pub(crate) fn forget_session(&self, token: &SessionToken) {
        self.0.forget(&session_name(token));
    }
}

/// No key's prefix has a colon.
fn session_name(token: &SessionToken) -> String {
    format!("session:{}", token.expose())
}

/// What a request must come with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// A key, whatever it allows.
    AnyKey,
    Scope(KeyScope),
}

impl Need {
    pub(crate) fn of(method: &Method, route: Option<&str>) -> Self {
        match route {
            Some("/v1/session") if *method == Method::POST => Self::Nothing,
            Some("/v1/session") => Self::AnyKey,
            // Dead letters are of all tenants.
            Some("/metrics" | "/v1/dead") => Self::Scope(KeyScope::Admin),
            // It only counts what a job would take.
            Some("/v1/estimate") => Self::Scope(KeyScope::Read),
            // It is a secret.
            Some("/v1/webhooks/default/secret") => Self::Scope(KeyScope::Submit),
            Some(route) if route.starts_with("/v1/") && method.is_safe() => Self::Scope(KeyScope::Read),
            Some(route) if route.starts_with("/v1/") => Self::Scope(KeyScope::Submit),
            _ => Self::Nothing,
        }
    }
}

/// Lets a request through to its route with its caller, or refuses it.
pub(crate) async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let need = Need::of(request.method(), route);
    if need == Need::Nothing {
        return next.run(request).await;
    }
    if shared.config.access == Access::Local && !here::asked_here(request.uri(), request.headers()) {
        return not_here().into_response();
    }
    if shared.config.access != Access::Keys {
        // With keys a page of others has none to show, and the session's header is out of its reach.
        let Config { cors_origins, public_url, .. } = &shared.config;
        let own = cors_origins.iter().chain(public_url);
        if !request.method().is_safe() && page::is_foreign(request.uri(), request.headers(), own) {
            return foreign_page().into_response();
        }
        request.extensions_mut().insert(Caller::anybody(&shared.config.tenant));
        return next.run(request).await;
    }
    let credential = Credential::of(request.headers());
    if matches!(credential, Credential::None) {
        match shared.links.caller(&shared, request.method(), route, request.uri()).await {
            Ok(None) => {}
            Ok(Some(caller)) => {
                request.extensions_mut().insert(caller);
                return next.run(request).await;
            }
            Err(problem) => return problem.into_response(),
        }
    }
    match identify(&shared, &credential, &need, request.method(), request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            cut_off(shared, credential, next.run(request).await)
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn foreign_page() -> Problem {
    let detail = "a page of another site may change nothing here; --cors-origin lets one in";
    Problem::new(StatusCode::FORBIDDEN, "foreign_page", detail)
}

fn not_here() -> Problem {
    let detail = "this API lets in everybody on its own machine and nobody else; start it with --auth keys, or with \
                  --auth open to let in all who can reach it";
    Problem::new(StatusCode::FORBIDDEN, "not_here", detail)
}

/// Finds out who asks, and whether the key allows it.
async fn identify(
    shared: &Shared,
    credential: &Credential,
    need: &Need,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    let caller = credential.caller(shared).await?;
    if let Some(token) = &caller.session {
        check_csrf(token, method, headers)?;
    }
    match need {
        Need::Scope(scope) if !caller.may(*scope) => Err(Refusal::missing_scope(*scope)),
        _ => Ok(caller),
    }
}

/// An answer that goes on and on ends when what it was asked for with opens nothing any more.
fn cut_off(shared: Arc<Shared>, credential: Credential, answer: Response) -> Response {
    let media_type = answer.headers().get(header::CONTENT_TYPE);
    if !media_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        return answer;
    }
    let over = async move {
        loop {
            tokio::time::sleep(BELIEVED).await;
            let asked = credential.caller(&shared).await;
            // While the queue is away nothing is known against it.
            if asked.is_err_and(|refusal| refusal.problem.status == StatusCode::UNAUTHORIZED.as_u16()) {
                return;
            }
        }
    };
    let (parts, body) = answer.into_parts();
    // Boxed, because a stream can be asked again only if it stays where it is.
    let body = body.into_data_stream().take_until(Box::pin(over));
    Response::from_parts(parts, Body::from_stream(body))
}

/// A cookie is sent by the browser whoever asked for the request; the header only by a page of ours, which
/// can read the other cookie.
fn check_csrf(token: &SessionToken, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let sent = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    if method.is_safe() || sent.is_some_and(|sent| token.has_csrf(sent)) {
        return Ok(());
    }
    let detail =
        "with a session, what changes something needs X-CSRF-Token: the value of the cookie uso_csrf";
    Err(Problem::new(StatusCode::FORBIDDEN, "csrf", detail).into())
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
