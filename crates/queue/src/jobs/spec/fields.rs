//! How the fields of a request are read: each once, and every fault is kept.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::format::{DEFAULT_QUALITY, Format};
use super::limits::{MAX_METADATA, MAX_PROMPT, MAX_SEED, MAX_STYLES, QUALITY};
use crate::{MAX_URL, Source};

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) of the field.
    pub pointer: String,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people that names the limit.
    pub message: String,
}

impl FieldError {
    /// A field that there is none of in a request.
    pub fn unknown(name: &str) -> Self {
        error(&escaped(name), "unknown_field", "no such field")
    }
}

/// An error at `path`, a pointer without its first slash; the body itself has an empty path.
pub(super) fn error(path: &str, code: &'static str, message: impl Into<String>) -> FieldError {
    let pointer = if path.is_empty() { String::new() } else { format!("/{path}") };
    FieldError { pointer, code, message: message.into() }
}

/// A field's name as a pointer writes it, shortened: names of unknown fields are the sender's.
fn escaped(name: &str) -> String {
    name.chars().take(128).collect::<String>().replace('~', "~0").replace('/', "~1")
}

/// Fields of a request that nothing has asked for yet, and what was wrong with the others.
pub(super) struct Fields {
    left: Map<String, Value>,
    pub(super) errors: Vec<FieldError>,
}

impl Fields {
    pub(super) fn of(left: Map<String, Value>) -> Self {
        Self { left, errors: Vec::new() }
    }

    /// A field's value; JSON null counts as left out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn fault(&mut self, name: &str, code: &'static str, message: impl Into<String>) {
        self.errors.push(error(name, code, message));
    }

    pub(super) fn prompt(&mut self) -> String {
        match self.take("prompt") {
            None => String::new(),
            Some(Value::String(text)) if text.chars().count() <= MAX_PROMPT => text,
            Some(Value::String(text)) => {
                let length = text.chars().count();
                let message = format!("{length} characters, at most {MAX_PROMPT} are allowed");
                self.fault("prompt", "too_long", message);
                String::new()
            }
            Some(_) => {
                self.fault("prompt", "wrong_type", "must be a string");
                String::new()
            }
        }
    }

    pub(super) fn source(&mut self, name: &str) -> Option<Source> {
        let value = self.take(name)?;
        self.parse_source(name, &value)
    }

    pub(super) fn styles(&mut self) -> Vec<Source> {
        match self.take("styles") {
            None => Vec::new(),
            Some(Value::Array(values)) if values.len() <= MAX_STYLES => {
                let parse = |(i, value)| self.parse_source(&format!("styles/{i}"), value);
                values.iter().enumerate().filter_map(parse).collect()
            }
            Some(Value::Array(values)) => {
                let message = format!("{} style references, at most {MAX_STYLES} are allowed", values.len());
                self.fault("styles", "out_of_range", message);
                Vec::new()
            }
            Some(_) => {
                self.fault("styles", "wrong_type", "must be an array of strings");
                Vec::new()
            }
        }
    }

    pub(super) fn parse_source(&mut self, name: &str, value: &Value) -> Option<Source> {
        let Value::String(text) = value else {
            self.fault(name, "wrong_type", "must be a string");
            return None;
        };
        text.parse().map_err(|message: String| self.fault(name, "invalid_source", message)).ok()
    }

    pub(super) fn integer(&mut self, name: &str, range: &RangeInclusive<i64>, default: i64) -> i64 {
        let Some(value) = self.take(name) else { return default };
        // 64.0 is a whole number to JSON.
        let whole = value.as_i64().or_else(|| {
            value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() <= MAX_SEED as f64).map(|x| x as i64)
        });
        match whole {
            Some(value) if range.contains(&value) => return value,
            Some(value) => {
                let message = format!("{value} is not within {} to {}", range.start(), range.end());
                self.fault(name, "out_of_range", message);
            }
            None if value.is_number() => {
                let message = format!("must be a whole number within {} to {}", range.start(), range.end());
                self.fault(name, "out_of_range", message);
            }
            None => self.fault(name, "wrong_type", "must be a whole number"),
        }
        default
    }

    /// The quality of a file of a format; none if the format has none, and then it may not be asked for.
    pub(super) fn quality(&mut self, format: Format) -> Option<u8> {
        if format.has_quality() {
            return u8::try_from(self.integer("quality", &QUALITY, DEFAULT_QUALITY.into())).ok();
        }
        // A format that was refused is taken for PNG; its quality is not wrong because of that.
        let refused = self.errors.iter().any(|error| error.pointer == "/format");
        if self.take("quality").is_some() && !refused {
            self.fault(
                "quality",
                "out_of_range",
                "png has no quality; set format to jpeg or webp, or leave it out",
            );
        }
        None
    }

    pub(super) fn number(&mut self, name: &str, range: &RangeInclusive<f64>, default: f64) -> f64 {
        match self.take(name).map(|value| value.as_f64()) {
            None => default,
            Some(Some(value)) if range.contains(&value) => value,
            Some(Some(value)) => {
                let message = format!("{value} is not within {} to {}", range.start(), range.end());
                self.fault(name, "out_of_range", message);
                default
            }
            Some(None) => {
                self.fault(name, "wrong_type", "must be a number");
                default
            }
        }
    }

    pub(super) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let time = value.as_str().and_then(|text| text.parse().ok());
        if time.is_none() {
            self.fault(name, "wrong_type", "must be a time like 2026-01-31T22:00:00Z (RFC 3339)");
        }
        time
    }

    /// Both times, where given, must be in this order.
    pub(super) fn in_order(&mut self, first: (&str, Option<Timestamp>), second: (&str, Option<Timestamp>)) {
        if first.1.zip(second.1).is_some_and(|(first, second)| first > second) {
            self.fault(second.0, "out_of_range", format!("must not be before {}", first.0));
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(value)) => value,
            Some(_) => {
                self.fault(name, "wrong_type", "must be true or false");
                false
            }
        }
    }

    /// Whether it may be called is for those to say who call it.
    pub(super) fn webhook(&mut self) -> Option<String> {
        match self.take("webhook")? {
            Value::String(url) if url.len() > MAX_URL => {
                self.fault("webhook", "too_long", format!("at most {MAX_URL} bytes are allowed"));
                None
            }
            Value::String(url) if url.starts_with("https://") || url.starts_with("http://") => Some(url),
            Value::String(_) => {
                self.fault("webhook", "invalid_url", "must begin with https://");
                None
            }
            _ => {
                self.fault("webhook", "wrong_type", "must be a string");
                None
            }
        }
    }

    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(value) = self.take(name) else { return default };
        let found = choices.iter().find(|(word, _)| Some(*word) == value.as_str());
        if let Some((_, choice)) = found {
            return *choice;
        }
        let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.fault(name, "not_a_choice", format!("must be one of: {words}"));
        default
    }

    pub(super) fn metadata(&mut self) -> Value {
        let value = self.take("metadata").unwrap_or(Value::Null);
        let bytes = value.to_string().len();
        if bytes > MAX_METADATA {
            let message = format!("{bytes} bytes of JSON, at most {MAX_METADATA} are allowed");
            self.fault("metadata", "too_long", message);
        }
        value
    }

    pub(super) fn finish(mut self) -> Result<(), Vec<FieldError>> {
        for name in std::mem::take(&mut self.left).into_iter().map(|(name, _)| name) {
            self.errors.push(FieldError::unknown(&name));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }
}
