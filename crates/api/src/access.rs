//! Who sends a request, and whether they may.
//!
//! [`admit`] runs before all routes. It finds the [`Caller`] by a key, or by the session that a browser opened
//! with one, and passes it on to the route; a route can get its tenant from nowhere else. What a route needs
//! follows from its path and method alone, so that a new route needs a key unless `need.rs` says otherwise.

pub(crate) mod cache;
pub(crate) mod credential;
pub(crate) mod csrf;
mod foreign;
mod here;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod mode;
pub(crate) mod need;
pub(crate) mod refusal;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use crate::caller::Caller;
use crate::config::Config;
use crate::problem::Problem;
use crate::shared::Shared;
use cache::KEY_LIFE;
use credential::Credential;
use csrf::check_csrf;
use mode::Access;
use need::Need;
use refusal::Refusal;

/// Passes a request on with its caller, or refuses it.
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
        // With keys this is not needed: a page of another site has no key, and cannot send the session's header.
        let Config { cors_origins, public_url, .. } = &shared.config;
        let own = cors_origins.iter().chain(public_url);
        if !request.method().is_safe() && foreign::is_foreign(request.uri(), request.headers(), own) {
            return foreign_page().into_response();
        }
        request.extensions_mut().insert(Caller::anybody(&shared.config.tenant));
        return next.run(request).await;
    }
    let credential = Credential::of(request.headers());
    if matches!(credential, Credential::None) {
        match shared.links.caller(request.method(), route, request.uri()).await {
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
    let detail = "pages of other sites may change nothing here; --cors-origin allows one";
    Problem::new(StatusCode::FORBIDDEN, "foreign_page", detail)
}

fn not_here() -> Problem {
    let detail = "this API only answers requests from its own machine; start it with --auth keys, or with --auth open to \
                  answer everyone who can reach it";
    Problem::new(StatusCode::FORBIDDEN, "not_here", detail)
}

/// Finds the caller, and checks that the key has the scope.
async fn identify(
    shared: &Shared,
    credential: &Credential,
    need: &Need,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    let caller = credential.caller(&shared.keys).await?;
    if let Some(token) = &caller.session {
        check_csrf(token, method, headers)?;
    }
    match need {
        Need::Scope(scope) if !caller.may(*scope) => Err(Refusal::missing_scope(*scope)),
        _ => Ok(caller),
    }
}

/// Ends a stream when its key or session is no longer valid.
fn cut_off(shared: Arc<Shared>, credential: Credential, answer: Response) -> Response {
    let media_type = answer.headers().get(header::CONTENT_TYPE);
    if !media_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        return answer;
    }
    let over = async move {
        loop {
            tokio::time::sleep(KEY_LIFE).await;
            let asked = credential.caller(&shared.keys).await;
            // While the queue does not answer, the key counts as valid.
            if asked.is_err_and(|refusal| refusal.problem.status == StatusCode::UNAUTHORIZED.as_u16()) {
                return;
            }
        }
    };
    let (parts, body) = answer.into_parts();
    // Boxed, because a stream is polled again only if it is pinned.
    let body = body.into_data_stream().take_until(Box::pin(over));
    Response::from_parts(parts, Body::from_stream(body))
}
