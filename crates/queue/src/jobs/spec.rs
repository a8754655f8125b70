//! What a job asks for, checked once at the edge.

mod fields;
mod fitting;
mod format;
mod gate;
mod limits;
mod loras;
mod number;
mod request;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::fields::FieldError;
use self::fields::{Fields, error};
pub use self::format::{DEFAULT_QUALITY, Format};
pub(crate) use self::gate::PREFIX;
pub use self::gate::{EarlyGate, Gate, Measure, Scorer, TRIES, Thresholds, smallest_margin};
pub use self::limits::{
    GUIDANCE, MAX_METADATA, MAX_PROMPT, MAX_SEED, MAX_STYLES, QUALITY, SIDE, STEP_CACHE, STEPS,
};
use self::limits::{PRIORITY, SEED};
pub use self::loras::{LORA_WEIGHT, Lora, MAX_LORAS};
use crate::random::random_u32;
use crate::schema::Time;
use crate::{Error, Source};

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

/// A job with nothing left open: every default is filled in and the seed is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// What the picture shows; empty to keep the content reference's layout.
    pub prompt: String,
    /// The subject, or the picture whose layout is kept.
    pub content: Option<Source>,
    /// Pictures whose style is taken over.
    pub styles: Vec<Source>,
    /// LoRAs that it is generated with.
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
    /// Who scores the picture, what it must reach, and how often it is sampled for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Seed of the start noise.
    pub seed: u64,
    /// File format of the picture.
    pub format: Format,
    /// Quality of the file, 1 to 100; none for PNG, which loses nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
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
    /// URL that is notified when the job ends, besides the tenant's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Whether the seed was chosen here rather than asked for.
    #[serde(skip)]
    seed_is_random: SeedIsRandom,
    /// The submitter's own, returned as it came.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
}

/// How the seed came about. Once chosen it is as good as any other: two jobs that differ only in this
/// ask for the same.
#[derive(Debug, Clone, Copy, Default)]
struct SeedIsRandom(bool);

impl PartialEq for SeedIsRandom {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl JobSpec {
    /// Reads a request body, fills in defaults and chooses the seed.
    ///
    /// # Errors
    /// Every bad field at once, unknown ones by name.
    pub fn parse(body: &Value, defaults: &Defaults) -> Result<Self, Vec<FieldError>> {
        let Value::Object(fields) = body else {
            return Err(vec![error("", "wrong_type", "the body must be a JSON object")]);
        };
        let mut fields = Fields::of(fields.clone());
        let side = |value: i64| value as u32 / 16 * 16;
        let seed = fields.integer("seed", &SEED, -1);
        let format = fields.choice("format", &Format::ALL.map(|f| (f.as_str(), f)), Format::Png);
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
            gate: fields.gate(),
            seed: u64::try_from(seed).unwrap_or_else(|_| u64::from(random_u32())),
            seed_is_random: SeedIsRandom(seed < 0),
            format,
            quality: fields.quality(format),
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
        fields.gate_fits(&spec);
        if spec.keep_size && spec.content.is_none() && !fields.errors.iter().any(|e| e.pointer == "/content")
        {
            fields.fault("keep_size", "out_of_range", "keep_size needs a content reference");
        }
        fields.finish().map(|()| spec)
    }

    /// Its references, each with its JSON pointer.
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

    /// SHA-256 of what was asked for: equal for requests that mean the same, whatever seed was chosen.
    pub(crate) fn digest(&self) -> Result<[u8; 32], Error> {
        let mut asked =
            serde_json::to_value(self.unpinned()).map_err(|error| Error::Unreadable(error.to_string()))?;
        if self.seed_is_random.0 {
            asked["seed"] = Value::Null;
        }
        Ok(Sha256::digest(asked.to_string()).into())
    }
}

/// Records of jobs that ask for none are as they were before there was one.
fn is_zero(step_cache: &f64) -> bool {
    *step_cache == 0.0
}
