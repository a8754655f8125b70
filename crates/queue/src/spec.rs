//! What a job asks for, checked once at the edge.

mod loras;
mod request;

use std::ops::RangeInclusive;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::loras::{LORA_WEIGHT, Lora, MAX_LORAS};
use crate::schema::Time;
use crate::{Error, Source};

/// Longest prompt in characters.
pub const MAX_PROMPT: usize = 10_000;
/// Largest `metadata` in bytes of JSON.
pub const MAX_METADATA: usize = 4096;
/// Style references of one job.
pub const MAX_STYLES: usize = 4;
/// Longest address of a webhook in bytes.
pub const MAX_URL: usize = 2000;
/// Largest seed: the largest whole number that JSON keeps exactly everywhere.
pub const MAX_SEED: i64 = (1 << 53) - 1;

/// Width, height and longest side of the content reference in pixels.
pub const SIDE: RangeInclusive<i64> = 16..=2048;
/// Sampling steps.
pub const STEPS: RangeInclusive<i64> = 1..=100;
const PRIORITY: RangeInclusive<i64> = -100..=100;
const SEED: RangeInclusive<i64> = -1..=MAX_SEED;
/// Guidance strength.
pub const GUIDANCE: RangeInclusive<f64> = 1.0..=10.0;
/// How much the transformer's first block may do differently for a step to be skipped, if the operator allows it.
pub const STEP_CACHE: RangeInclusive<f64> = 0.0..=1.0;

/// How urgent a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Somebody waits for it.
    Interactive,
    /// Overnight work.
    Bulk,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    /// The word used in requests and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}

/// File format of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// PNG with the parameters as text.
    Png,
}

/// What a request that leaves a parameter out gets: the model's own opinion; and what the operator bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Longest side of the content reference in pixels.
    pub content_size: u32,
    /// Sampling steps.
    pub steps: u32,
    /// Guidance strength.
    pub guidance: f64,
    /// The largest `step_cache` that may be asked for, within [`STEP_CACHE`]; one that is left out is 0.
    pub max_step_cache: f64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { width: 1024, height: 1024, content_size: 512, steps: 25, guidance: 4.0, max_step_cache: 0.0 }
    }
}

/// A job with nothing left open: every default is filled in and the seed is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// What to draw; empty to keep the content reference's layout.
    pub prompt: String,
    /// The subject, or the picture whose layout is kept.
    pub content: Option<Source>,
    /// Pictures whose style is taken over.
    pub styles: Vec<Source>,
    /// LoRAs that it is drawn with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<Lora>,
    /// Width in pixels, a multiple of 16.
    pub width: u32,
    /// Height in pixels, a multiple of 16.
    pub height: u32,
    /// Take the proportions of the content reference instead.
    pub keep_size: bool,
    /// Sampling steps.
    pub steps: u32,
    /// Guidance strength.
    pub guidance: f64,
    /// Longest side of the content reference in pixels.
    pub content_size: u32,
    /// Steps are skipped in which the transformer's first block does the same but for this share: another picture. 0 for
    /// none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step_cache: f64,
    /// Seed of the start noise.
    pub seed: u64,
    /// File format of the picture.
    pub format: Format,
    /// How urgent the job is.
    pub class: Class,
    /// Order within the class; higher first.
    pub priority: i32,
    /// Not to be worked on before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub not_before: Option<Timestamp>,
    /// Ended as expired if no attempt has begun by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub start_by: Option<Timestamp>,
    /// Ended as expired if it is not done by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finish_by: Option<Timestamp>,
    /// Who is told that it has ended, besides the tenant's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Whether the seed was drawn here rather than asked for.
    #[serde(skip)]
    seed_is_drawn: SeedIsDrawn,
    /// The submitter's own, returned as it came.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
}

/// How the seed came about. Once drawn it is as good as any other: two jobs that differ only in this
/// ask for the same.
#[derive(Debug, Clone, Copy, Default)]
struct SeedIsDrawn(bool);

impl PartialEq for SeedIsDrawn {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

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

impl JobSpec {
    /// Reads a request body, fills in defaults and draws the seed.
    ///
    /// # Errors
    /// Every bad field at once, unknown ones by name.
    pub fn parse(body: &Value, defaults: &Defaults) -> Result<Self, Vec<FieldError>> {
        let Value::Object(fields) = body else {
            return Err(vec![error("", "wrong_type", "the body must be a JSON object")]);
        };
        let mut fields = Fields { left: fields.clone(), errors: Vec::new() };
        let side = |value: i64| value as u32 / 16 * 16;
        let seed = fields.integer("seed", &SEED, -1);
        let spec = Self {
            prompt: fields.prompt(),
            content: fields.source("content"),
            styles: fields.styles(),
            loras: fields.loras(),
            width: side(fields.integer("width", &SIDE, defaults.width.into())),
            height: side(fields.integer("height", &SIDE, defaults.height.into())),
            keep_size: fields.boolean("keep_size"),
            steps: fields.integer("steps", &STEPS, defaults.steps.into()) as u32,
            guidance: fields.number("guidance", &GUIDANCE, defaults.guidance),
            content_size: fields.integer("content_size", &SIDE, defaults.content_size.into()) as u32,
            step_cache: fields.number("step_cache", &(0.0..=defaults.max_step_cache), 0.0),
            seed: u64::try_from(seed).unwrap_or_else(|_| u64::from(Uuid::new_v4().as_u128() as u32)),
            seed_is_drawn: SeedIsDrawn(seed < 0),
            format: fields.choice("format", &[("png", Format::Png)], Format::Png),
            class: fields.choice("class", &Class::ALL.map(|c| (c.as_str(), c)), Class::Interactive),
            priority: fields.integer("priority", &PRIORITY, 0) as i32,
            not_before: fields.time("not_before"),
            start_by: fields.time("start_by"),
            finish_by: fields.time("finish_by"),
            webhook: fields.webhook(),
            metadata: fields.metadata(),
        };
        fields.in_order(("not_before", spec.not_before), ("start_by", spec.start_by));
        fields.in_order(("not_before", spec.not_before), ("finish_by", spec.finish_by));
        fields.in_order(("start_by", spec.start_by), ("finish_by", spec.finish_by));
        if spec.keep_size && spec.content.is_none() && !fields.errors.iter().any(|e| e.pointer == "/content")
        {
            fields.fault("keep_size", "out_of_range", "keep_size needs a content reference");
        }
        fields.finish().map(|()| spec)
    }

    /// Its references, each with its place as a JSON pointer.
    pub fn sources_mut(&mut self) -> impl Iterator<Item = (String, &mut Source)> {
        let content = self.content.iter_mut().map(|source| ("/content".to_owned(), source));
        let styles = self.styles.iter_mut().enumerate();
        content.chain(styles.map(|(i, source)| (format!("/styles/{i}"), source)))
    }

    /// As its submitter would write it: what uploads held when the job was accepted is left out.
    pub fn unpinned(&self) -> Self {
        let mut spec = self.clone();
        spec.sources_mut().for_each(|(_, source)| source.unpin());
        spec
    }

    /// SHA-256 of what was asked for: equal for requests that mean the same, whatever seed was drawn.
    pub(crate) fn digest(&self) -> Result<[u8; 32], Error> {
        let mut asked =
            serde_json::to_value(self.unpinned()).map_err(|error| Error::Unreadable(error.to_string()))?;
        if self.seed_is_drawn.0 {
            asked["seed"] = Value::Null;
        }
        Ok(Sha256::digest(asked.to_string()).into())
    }
}

/// Records of jobs that ask for none are as they were before there was one.
fn is_zero(step_cache: &f64) -> bool {
    *step_cache == 0.0
}

/// An error at `path`, a pointer without its first slash; the body itself has an empty path.
fn error(path: &str, code: &'static str, message: impl Into<String>) -> FieldError {
    let pointer = if path.is_empty() { String::new() } else { format!("/{path}") };
    FieldError { pointer, code, message: message.into() }
}

/// A field's name as a pointer writes it, shortened: names of unknown fields are the sender's.
fn escaped(name: &str) -> String {
    name.chars().take(128).collect::<String>().replace('~', "~0").replace('/', "~1")
}

/// Fields of a request that nothing has asked for yet, and what was wrong with the others.
struct Fields {
    left: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// A field's value; JSON null counts as left out.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn fault(&mut self, name: &str, code: &'static str, message: impl Into<String>) {
        self.errors.push(error(name, code, message));
    }

    fn prompt(&mut self) -> String {
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

    fn source(&mut self, name: &str) -> Option<Source> {
        let value = self.take(name)?;
        self.parse_source(name, &value)
    }

    fn styles(&mut self) -> Vec<Source> {
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

    fn parse_source(&mut self, name: &str, value: &Value) -> Option<Source> {
        let Value::String(text) = value else {
            self.fault(name, "wrong_type", "must be a string");
            return None;
        };
        text.parse().map_err(|message: String| self.fault(name, "invalid_source", message)).ok()
    }

    fn integer(&mut self, name: &str, range: &RangeInclusive<i64>, default: i64) -> i64 {
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

    fn number(&mut self, name: &str, range: &RangeInclusive<f64>, default: f64) -> f64 {
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

    fn time(&mut self, name: &str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let time = value.as_str().and_then(|text| text.parse().ok());
        if time.is_none() {
            self.fault(name, "wrong_type", "must be a time like 2026-01-31T22:00:00Z (RFC 3339)");
        }
        time
    }

    /// Both times, where given, must be in this order.
    fn in_order(&mut self, first: (&str, Option<Timestamp>), second: (&str, Option<Timestamp>)) {
        if first.1.zip(second.1).is_some_and(|(first, second)| first > second) {
            self.fault(second.0, "out_of_range", format!("must not be before {}", first.0));
        }
    }

    fn boolean(&mut self, name: &str) -> bool {
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
    fn webhook(&mut self) -> Option<String> {
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

    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(value) = self.take(name) else { return default };
        let found = choices.iter().find(|(word, _)| Some(*word) == value.as_str());
        if let Some((_, choice)) = found {
            return *choice;
        }
        let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.fault(name, "not_a_choice", format!("must be one of: {words}"));
        default
    }

    fn metadata(&mut self) -> Value {
        let value = self.take("metadata").unwrap_or(Value::Null);
        let bytes = value.to_string().len();
        if bytes > MAX_METADATA {
            let message = format!("{bytes} bytes of JSON, at most {MAX_METADATA} are allowed");
            self.fault("metadata", "too_long", message);
        }
        value
    }

    fn finish(mut self) -> Result<(), Vec<FieldError>> {
        for name in std::mem::take(&mut self.left).into_iter().map(|(name, _)| name) {
            self.errors.push(FieldError::unknown(&name));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }
}
