//! Whether a request with a session was sent by our own page.

use axum::http::{HeaderMap, Method, StatusCode};
use uso_queue::SessionToken;

use super::refusal::Refusal;
use crate::problem::Problem;

/// The header in which our page repeats the readable cookie.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// A browser sends the session cookie with every request, also those of other sites' pages. Only our own page can read
/// the second cookie and send it in the header.
pub(super) fn check_csrf(token: &SessionToken, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let sent = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    if method.is_safe() || sent.is_some_and(|sent| token.has_csrf(sent)) {
        return Ok(());
    }
    let detail =
        "with a session, requests that change something need X-CSRF-Token: the value of the cookie uso_csrf";
    Err(Problem::new(StatusCode::FORBIDDEN, "csrf", detail).into())
}
