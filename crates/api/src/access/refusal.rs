//! Refusals of callers without a valid key or scope.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use uso_queue::KeyScope;

use crate::problem::Problem;

/// A refusal with the header that HTTP asks for.
pub(crate) struct Refusal {
    pub(super) problem: Box<Problem>,
    challenge: Option<String>,
}

impl Refusal {
    pub(super) fn no_key() -> Self {
        let detail = "this needs an API key: send Authorization: Bearer <key>";
        Self::unauthorized("no_key", detail, String::new())
    }

    pub(crate) fn invalid_key() -> Self {
        let detail = "the key is unknown, revoked or expired";
        Self::unauthorized("invalid_key", detail, ", error=\"invalid_token\"".into())
    }

    pub(super) fn session_over() -> Self {
        let detail = "the session has ended, or the key that opened it is no longer valid";
        Self::unauthorized("session_over", detail, ", error=\"invalid_token\"".into())
    }

    fn unauthorized(code: &'static str, detail: &str, more: String) -> Self {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, code, detail);
        Self { problem: Box::new(problem), challenge: Some(more) }
    }

    pub(super) fn missing_scope(scope: KeyScope) -> Self {
        let scope = scope.as_str();
        let detail = format!("the key does not allow this: you need the scope {scope}");
        let problem = Problem::new(StatusCode::FORBIDDEN, "missing_scope", detail);
        Self {
            problem: Box::new(problem),
            challenge: Some(format!(", error=\"insufficient_scope\", scope=\"{scope}\"")),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), challenge: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        let challenge =
            self.challenge.map(|more| HeaderValue::try_from(format!("Bearer realm=\"uso\"{more}")));
        if let Some(Ok(challenge)) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
