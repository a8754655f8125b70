//! What the API says when it refuses a request.

use std::fmt;
use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};

/// What the fleet has against a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// The row's line in what was read, from 1.
    pub(crate) line: u64,
    /// The field, as a JSON pointer; empty for the whole row.
    pub(crate) pointer: String,
    pub(crate) message: String,
}

/// The API's refusal of a request.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    /// The problem document; an empty object if the answer is none.
    problem: Value,
    /// How long to wait before the next try, if the API says so.
    pub(super) pause: Option<Duration>,
}

impl Refused {
    pub(super) async fn read(answer: Response) -> Self {
        let (status, headers) = (answer.status(), answer.headers());
        let is_problem = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/problem+json"));
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let pause = seconds.map(Duration::from_secs);
        let problem = if is_problem { answer.json().await.unwrap_or_default() } else { json!({}) };
        Self { status, problem, pause }
    }

    /// Whether the same request may succeed after a pause.
    pub(super) fn is_passing(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status.is_server_error() && self.problem["retryable"] != false
    }

    pub(super) fn is(&self, status: StatusCode, code: &str) -> bool {
        self.status == status && (code.is_empty() || self.problem["code"] == code)
    }

    /// What is wrong with single rows; none if it is anything else.
    pub(crate) fn bad_lines(&self) -> Option<Vec<BadLine>> {
        bad_lines(&self.problem["errors"])
    }

    /// What the API says about it in a sentence.
    pub(crate) fn detail(&self) -> &str {
        self.problem["detail"].as_str().unwrap_or("the request was refused")
    }

    /// A field of the problem document.
    pub(super) fn field(&self, name: &str) -> &Value {
        &self.problem[name]
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&explain(self.status, &self.problem))
    }
}

/// Faults of single rows, which the pointers of errors begin with; none if there is any other error.
fn bad_lines(errors: &Value) -> Option<Vec<BadLine>> {
    let line = |error: &Value| {
        let pointer = error["pointer"].as_str()?.strip_prefix('/')?;
        let (line, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let pointer = if rest.is_empty() { String::new() } else { format!("/{rest}") };
        Some(BadLine { line: line.parse().ok()?, pointer, message: error["message"].as_str()?.to_owned() })
    };
    errors.as_array()?.iter().map(line).collect::<Option<Vec<_>>>().filter(|lines| !lines.is_empty())
}

/// A problem document as text, with one line for each bad field.
fn explain(status: StatusCode, problem: &Value) -> String {
    let fields = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (fields, problem["detail"].as_str()) {
        ([], Some(detail)) if status == StatusCode::UNAUTHORIZED => {
            format!("{detail}; give a key with --api-key or USO_API_KEY ({status})")
        }
        ([], Some(detail)) => format!("{detail} ({status})"),
        ([], None) => format!("the API answered {status}"),
        (fields, _) => {
            let line = |error: &Value| {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                format!("\n  {}: {}", text("pointer").trim_start_matches('/'), text("message"))
            };
            format!("the request was refused:{}", fields.iter().map(line).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_field_has_a_line() {
        let problem = json!({ "detail": "2 fields are not as they must be", "errors": [
            { "pointer": "/steps", "message": "101 is not within 1 to 100" },
            { "pointer": "/styles/0", "message": "must be a string" },
        ]});
        let text = explain(StatusCode::UNPROCESSABLE_ENTITY, &problem);
        assert_eq!(
            text,
            "the request was refused:\n  steps: 101 is not within 1 to 100\n  styles/0: must be a string"
        );
        assert_eq!(explain(StatusCode::BAD_GATEWAY, &json!({})), "the API answered 502 Bad Gateway");
    }

    #[test]
    fn what_may_succeed_later_is_known() {
        let refused = |status, problem| Refused { status, problem, pause: None };
        assert!(refused(StatusCode::SERVICE_UNAVAILABLE, json!({})).is_passing());
        assert!(refused(StatusCode::TOO_MANY_REQUESTS, json!({ "retryable": true })).is_passing());
        assert!(!refused(StatusCode::CONFLICT, json!({ "code": "rows_moved" })).is_passing());
        assert!(!refused(StatusCode::INTERNAL_SERVER_ERROR, json!({ "retryable": false })).is_passing());
    }

    #[test]
    fn faults_of_rows_are_told_from_others() {
        let error = |pointer: &str| json!({ "pointer": pointer, "code": "c", "message": "m" });
        let bad = |line, pointer: &str| BadLine { line, pointer: pointer.into(), message: "m".into() };
        let faults = bad_lines(&json!([error("/3/styles/0"), error("/12")]));
        assert_eq!(faults, Some(vec![bad(3, "/styles/0"), bad(12, "")]));
        for other in [json!(null), json!([]), json!([error("")]), json!([error("/from")])] {
            assert_eq!(bad_lines(&other), None, "{other}");
        }
    }
}
