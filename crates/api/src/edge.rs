//! What holds for every request and answer, whatever they are about.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::Problem;

/// Refuses a request that names two hosts, of which another server on the way may have taken the other; and has no
/// browser take an answer for what it does not say it is.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        let detail = "a request names one host";
        Problem::new(StatusCode::BAD_REQUEST, "two_hosts", detail).into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
