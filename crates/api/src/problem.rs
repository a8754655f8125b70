//! Refusals as problem documents (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{FieldError, Rejection};

/// Why a request was refused.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// The kind of problem, for people.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The kind of problem, for programs.
    pub code: &'static str,
    /// What is wrong this time.
    pub detail: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What is wrong with each field, for a body that was understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// For `rows_moved`: the rows that the data set has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// When to try again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Whether it is that the queue says nothing.
    #[serde(skip)]
    pub(crate) silence: bool,
}

impl Problem {
    /// A refusal that a second try does not change.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            retryable: false,
            errors: Vec::new(),
            rows: None,
            retry_after: None,
            silence: false,
        }
    }

    /// Marks a refusal that a later try may change.
    pub(crate) fn later(mut self, after: Duration) -> Self {
        self.retryable = true;
        self.retry_after = Some(after);
        self
    }

    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = summary(&errors, "fields");
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", detail) }
    }

    pub(crate) fn parameters(errors: Vec<FieldError>) -> Self {
        let detail = summary(&errors, "parameters");
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "invalid_parameters", detail) }
    }

    pub(crate) fn no_such_batch() -> Self {
        let detail = "there is no such batch, or its record has expired";
        Self::new(StatusCode::NOT_FOUND, "no_such_batch", detail)
    }

    pub(crate) fn no_such_dataset() -> Self {
        let detail = "the batch is no data set: its jobs came with it, and it has no rows";
        Self::new(StatusCode::CONFLICT, "not_a_dataset", detail)
    }

    /// A data set is there with other settings.
    pub(crate) fn settings_differ(errors: Vec<FieldError>) -> Self {
        let names: Vec<&str> =
            errors.iter().map(|error| error.pointer.trim_start_matches("/dataset/")).collect();
        let names = names.join(" and ");
        let detail = format!("a data set keeps its settings: leave out {names}, or take another name");
        Self { errors, ..Self::new(StatusCode::CONFLICT, "settings_differ", detail) }
    }

    pub(crate) fn batch_canceled() -> Self {
        let detail = "the data set was canceled and takes no more rows; retry-failed opens it again, or make another one \
                      under another name";
        Self::new(StatusCode::CONFLICT, "batch_canceled", detail)
    }

    /// A data set has another number of rows than its caller believes.
    pub(crate) fn rows_moved(rows: u64, detail: impl Into<String>) -> Self {
        Self { rows: Some(rows), ..Self::new(StatusCode::CONFLICT, "rows_moved", detail) }
    }

    pub(crate) fn stopping() -> Self {
        let detail = "this process is stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail).later(Duration::from_secs(1))
    }

    pub(crate) fn no_such_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_job", "there is no such job, or its record has expired")
    }

    pub(crate) fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path")
    }

    pub(crate) fn no_such_method() -> Self {
        let detail = "this path does not take this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", detail)
    }

    /// A fault of ours: the log has the details, the client does not get them.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something failed here; it has been logged")
    }
}

fn summary(errors: &[FieldError], what: &str) -> String {
    match errors {
        [only] => format!("{}: {}", only.pointer, only.message),
        several => format!("{} {what} are invalid", several.len()),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        let refuse = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, &detail);
        let wait = |code, time| Self::new(StatusCode::TOO_MANY_REQUESTS, code, &detail).later(time);
        match rejection {
            Rejection::KeyReused { .. } | Rejection::BatchKeyReused { .. } => {
                refuse("idempotency_key_reused")
            }
            Rejection::TooMuchStored { .. } => wait("too_much_stored", Duration::from_secs(60 * 60)),
            Rejection::TooManyQueued { .. } => wait("too_many_queued", Duration::from_secs(30)),
            Rejection::TooFast { retry_after_ms, .. } => {
                wait("too_fast", Duration::from_secs(retry_after_ms.div_ceil(1000)))
            }
            Rejection::NoSuchBatch { .. } => refuse("no_such_batch"),
            Rejection::BatchCanceled { .. } => refuse("batch_canceled"),
            _ => refuse("invalid_submission"),
        }
    }
}

impl From<uso_queue::Error> for Problem {
    fn from(error: uso_queue::Error) -> Self {
        if let uso_queue::Error::Rejected(rejection) = error {
            return rejection.into();
        }
        if !error.retryable() {
            return Self::internal(&error);
        }
        tracing::warn!(%error, "a request could not use the queue");
        let silence = matches!(error, uso_queue::Error::Unreachable(_));
        let (code, detail) = match error {
            uso_queue::Error::Full => ("queue_unavailable", "the queue is full and takes no new jobs now"),
            uso_queue::Error::Blocked(_) | uso_queue::Error::Denied(_) => {
                ("queue_unavailable", "the queue takes no jobs now; its operator must fix it")
            }
            uso_queue::Error::NotDurable { .. } => (
                "not_durable",
                "the request was carried out, but is not durable yet; you can safely repeat it with the same key",
            ),
            _ => ("queue_unavailable", "the queue does not answer now"),
        };
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        Self { silence, ..problem.later(Duration::from_secs(2)) }
    }
}

impl From<uso_store::Error> for Problem {
    fn from(error: uso_store::Error) -> Self {
        // All other errors are the store's, and the operator must fix them.
        if error.is_the_objects_own() {
            return Self::internal(&error);
        }
        tracing::warn!(%error, "a request could not use the object store");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "the object store does not answer now",
        )
        .later(Duration::from_secs(2))
    }
}

impl From<uso_dataset::Error> for Problem {
    fn from(error: uso_dataset::Error) -> Self {
        match error {
            uso_dataset::Error::Store(error) => error.into(),
            uso_dataset::Error::Queue(error) => error.into(),
            // The fleet wrote it, so it is the fleet's fault.
            other => Self::internal(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_does_not_take_now_may_be_tried_later() {
        let said = || String::from("said");
        for (error, silence) in [
            (uso_queue::Error::Unreachable(said()), true),
            (uso_queue::Error::Blocked(said()), false),
            (uso_queue::Error::Denied(said()), false),
            (uso_queue::Error::Full, false),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.code, problem.retryable), (503, "queue_unavailable", true));
            assert_eq!(problem.silence, silence);
            assert!(problem.retry_after.is_some());
        }
    }

    #[test]
    fn work_that_is_not_durable_yet_may_be_tried_again() {
        let problem = Problem::from(uso_queue::Error::NotDurable { confirmed: 1, wanted: 2 });
        assert_eq!((problem.status, problem.code, problem.retryable), (503, "not_durable", true));
        assert!(problem.retry_after.is_some());
    }
}
