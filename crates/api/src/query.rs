//! Query parameters: a handler takes each by name, and those left over are refused.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use uso_queue::FieldError;

use crate::problem::Problem;

/// Parameters that were not taken yet, and what was wrong with the others. In a refusal, the pointer of a
/// parameter is `?` and its name.
pub(crate) struct Params {
    left: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Ok(Query(left)) = Query::try_from_uri(&parts.uri) else {
            let detail = "the query parameters cannot be read";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_parameters", detail));
        };
        Ok(Self { left, errors: Vec::new() })
    }
}

impl Params {
    /// A parameter's text; an empty one counts as left out.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.left.iter().position(|(other, _)| other == name)?;
        let (_, text) = self.left.remove(at);
        Some(text).filter(|text| !text.is_empty())
    }

    fn fault(&mut self, name: &str, code: &'static str, message: String) {
        let name: String = name.chars().take(128).collect();
        self.errors.push(FieldError { pointer: format!("?{name}"), code, message });
    }

    /// One of some words.
    pub(crate) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if found.is_none() {
            let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            self.fault(name, "not_a_choice", format!("must be one of: {words}"));
        }
        found
    }

    /// A whole number.
    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<usize>, default: usize) -> usize {
        let Some(text) = self.text(name) else { return default };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let message = format!("must be a whole number within {} to {}", range.start(), range.end());
                self.fault(name, "out_of_range", message);
                default
            }
        }
    }

    /// A value from an earlier answer.
    pub(crate) fn given<T: FromStr>(&mut self, name: &str, message: impl Display) -> Option<T> {
        let text = self.text(name)?;
        let read = text.parse().ok();
        if read.is_none() {
            self.fault(name, "not_one_of_ours", message.to_string());
        }
        read
    }

    /// Refuses invalid parameters, and those that were not taken.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.left) {
            self.fault(
                &name,
                "unknown_parameter",
                "there is no such parameter, or it is given twice".to_owned(),
            );
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::parameters(self.errors)) }
    }
}
