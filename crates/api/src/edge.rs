//! What holds for every request and every answer.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// Refuses a request that names two hosts, because a proxy on the way may have used the other one. Tells browsers not to
/// guess the media type of an answer.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        let detail = "a request must name one host";
        Problem::new(StatusCode::BAD_REQUEST, "two_hosts", detail).into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
