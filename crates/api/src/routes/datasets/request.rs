//! The body of a request for a data set.

use std::path::Path;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};
use uso_dataset::rows::{Checker, Kind, Options};
use uso_dataset::{Settings, Split};
use uso_queue::{Budget, Defaults, FieldError, Gate, JobSpec, MAX_DATASET_NAME, MAX_METADATA, Source};

use super::fields::{budget_schema, fault, object, read_budget, whole};
use crate::openapi::schema::named;

/// Largest shard in rows, and in bytes of pictures.
const MAX_SHARD: (u64, u64) = (1_000_000, 64 << 30);
/// Models whose licences may be stated.
const MAX_LICENCES: usize = 100;
/// Longest text of a licence, of a model's name and of a field to split by, in bytes.
const MAX_TEXT: usize = 500;
/// Kinds of manifests by their names.
const KINDS: [(&str, Kind); 4] = [
    ("jsonl", Kind::Jsonl),
    ("csv", Kind::Csv),
    ("parquet", Kind::Parquet),
    ("evaluation", Kind::Evaluation),
];
/// All fields of such a body.
pub(crate) const FIELDS: [&str; 8] =
    ["dataset", "budget", "metadata", "manifest", "kind", "on_bad", "unknown", "replace"];

/// A data set that somebody wants.
pub(super) struct Wanted {
    pub(super) settings: Settings,
    pub(super) budget: Budget,
    pub(super) metadata: Value,
    /// Where its rows are, if the API is to read them.
    pub(super) manifest: Option<WantedRows>,
}

/// Rows of a manifest that the API is to read.
pub(super) struct WantedRows {
    pub(super) source: Source,
    pub(super) kind: Kind,
    /// Leave bad rows out instead of refusing the rest.
    pub(super) skips_bad: bool,
    /// Put fields that a job has not into its metadata.
    pub(super) unknown_to_metadata: bool,
    /// Replace rows that ask for something else than before.
    pub(super) replaces: bool,
}

impl WantedRows {
    /// What checks these rows, for a data set that is split so.
    pub(super) fn checker(&self, defaults: Defaults, split: Option<Split>) -> Checker {
        let options = Options { unknown_to_metadata: self.unknown_to_metadata };
        Checker::new(defaults, options).with_place(self.kind.place()).with_split(split)
    }
}

/// The schemas of the fields, by their names.
pub(crate) fn properties(schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let text = |description: &str| json!({ "description": description, "type": "string", "minLength": 1, "maxLength": MAX_TEXT });
    let dataset = json!({
        "description": "Makes a data set without rows yet. The same name again gives the same one.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "name": { "description": format!("Its name among yours, at most {MAX_DATASET_NAME} bytes, without control characters."),
                      "type": "string", "minLength": 1, "maxLength": MAX_DATASET_NAME,
                      "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$" },
            "shard_rows": { "description": "Rows of a shard at most.", "type": "integer", "minimum": 1,
                            "maximum": MAX_SHARD.0, "default": Settings::default().shard_rows },
            "shard_bytes": { "description": "Bytes of pictures after which a shard takes no more rows.", "type": "integer",
                             "minimum": 1, "maximum": MAX_SHARD.1, "default": Settings::default().shard_bytes },
            "split": {
                "description": "A split for training; a row never changes sides.",
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": {
                    "by": text("`key`, or a field of the row's `metadata`: rows with the same value are on one side."),
                    "val": { "description": "Share of rows for validation.", "type": "number", "minimum": 0, "maximum": 1 },
                },
                "required": ["by", "val"],
            },
            "licences": {
                "description": "The models' licences as you state them, by the models' names; null for unknown ones.",
                "type": "object", "maxProperties": MAX_LICENCES,
                "additionalProperties": { "type": ["string", "null"], "maxLength": MAX_TEXT },
            },
            "gate": gate_schema(schemas),
        },
        "required": ["name"],
    });
    let mut optional_budget = budget_schema(schemas);
    optional_budget["type"] = json!(["object", "null"]);
    let words = |words: Vec<&str>, description: &str| json!({ "description": description, "type": "string", "enum": words });
    let fields = [
        ("dataset", dataset),
        ("budget", optional_budget),
        (
            "manifest",
            json!({ "description": "An object of the fleet's bucket with the rows: `s3://bucket/key`, or `upload:<id>`.",
                             "allOf": [named("Source")] }),
        ),
        (
            "kind",
            words(
                KINDS.map(|(word, _)| word).to_vec(),
                "The manifest's format; without it, its name says it.",
            ),
        ),
        (
            "on_bad",
            words(
                vec!["fail", "skip"],
                "What is done about bad rows: nothing is started, or they are left out.",
            ),
        ),
        ("unknown", words(vec!["refuse", "metadata"], "What is done with fields that a job has not.")),
        (
            "replace",
            json!({ "description": "Whether rows that ask for something else than before are replaced: those that were not \
                                    begun, or have not ended well. The others count as bad rows.",
                    "type": "boolean", "default": false }),
        ),
    ];
    fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// That of a job's gate, which each row gets that has none of its own.
fn gate_schema(schemas: &mut SchemaGenerator) -> Value {
    let job = Value::from(JobSpec::request_schema(schemas, &Defaults::default()));
    let mut gate = job["properties"]["gate"].clone();
    gate["description"] =
        "The quality gate of each row that has none of its own, as jobs have it. Thresholds that a row \
                           cannot have, such as `dino` without a content reference, are left out there."
            .into();
    gate
}

/// What a body asks for, or everything that is wrong with it.
pub(super) fn read(body: &Value) -> Result<Wanted, Vec<FieldError>> {
    let mut errors = Vec::new();
    let none = Map::new();
    let fields = object(body, &FIELDS, &mut errors).unwrap_or(&none);
    let settings = read_settings(fields.get("dataset").unwrap_or(&Value::Null), &mut errors);
    let budget = match fields.get("budget") {
        Some(given) if !given.is_null() => read_budget(given, "/budget", &mut errors),
        _ => Budget::default(),
    };
    let metadata = fields.get("metadata").cloned().unwrap_or_default();
    let size = metadata.to_string().len();
    if size > MAX_METADATA {
        let message = format!("{size} bytes of JSON, at most {MAX_METADATA} are allowed");
        errors.push(fault("/metadata".into(), "too_long", message));
    }
    let manifest = read_manifest(fields, &mut errors);
    if errors.is_empty() { Ok(Wanted { settings, budget, metadata, manifest }) } else { Err(errors) }
}

fn read_settings(given: &Value, errors: &mut Vec<FieldError>) -> Settings {
    let mut found = Vec::new();
    let none = Map::new();
    let known = ["name", "shard_rows", "shard_bytes", "split", "licences", "gate"];
    let fields = object(given, &known, &mut found).unwrap_or(&none);
    let mut settings = Settings::default();
    match fields.get("name").and_then(Value::as_str) {
        Some(name) if is_name(name) => settings.name = name.to_owned(),
        _ => {
            let message =
                format!("must be a string of 1 to {MAX_DATASET_NAME} bytes without control characters");
            found.push(fault("/name".into(), "out_of_range", message));
        }
    }
    let mut limit = |name: &str, most: u64| {
        let number = whole(fields.get(name)?).filter(|number| (1..=most).contains(number));
        if number.is_none() {
            let message = format!("must be a whole number within 1 to {most}");
            found.push(fault(format!("/{name}"), "out_of_range", message));
        }
        number
    };
    if let Some(rows) = limit("shard_rows", MAX_SHARD.0) {
        settings.shard_rows = rows as u32;
    }
    if let Some(bytes) = limit("shard_bytes", MAX_SHARD.1) {
        settings.shard_bytes = bytes;
    }
    if let Some(split) = fields.get("split").filter(|split| !split.is_null()) {
        settings.split = read_split(split, &mut found);
    }
    if let Some(licences) = fields.get("licences") {
        read_licences(licences, &mut settings, &mut found);
    }
    if let Some(gate) = fields.get("gate").filter(|gate| !gate.is_null()) {
        match Gate::parse(gate) {
            Ok(gate) => settings.gate = Some(gate),
            Err(faults) => found.extend(below("/gate", faults)),
        }
    }
    errors.extend(below("/dataset", found));
    settings
}

fn below(pointer: &str, faults: Vec<FieldError>) -> impl Iterator<Item = FieldError> {
    faults
        .into_iter()
        .map(move |fault| FieldError { pointer: format!("{pointer}{}", fault.pointer), ..fault })
}

/// Names are shown in terminals and become names of files.
fn is_name(name: &str) -> bool {
    (1..=MAX_DATASET_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn read_split(given: &Value, errors: &mut Vec<FieldError>) -> Option<Split> {
    let by = given.get("by").and_then(Value::as_str).filter(|by| (1..=MAX_TEXT).contains(&by.len()));
    let val = given.get("val").and_then(Value::as_f64).filter(|val| (0.0..=1.0).contains(val));
    let plain = given.as_object().is_some_and(|fields| fields.len() == 2);
    let split = by.zip(val).filter(|_| plain).map(|(by, val)| Split { by: by.to_owned(), val });
    if split.is_none() {
        let message =
            "must have `by`, `key` or the name of a field of metadata, and `val`, a share within 0 to 1";
        errors.push(fault("/split".into(), "invalid_split", message.into()));
    }
    split
}

fn read_licences(given: &Value, settings: &mut Settings, errors: &mut Vec<FieldError>) {
    let licence = |value: &Value| match value {
        Value::Null => Some(None),
        Value::String(text) if text.len() <= MAX_TEXT => Some(Some(text.clone())),
        _ => None,
    };
    let fields = given.as_object().filter(|fields| fields.len() <= MAX_LICENCES);
    let stated = fields.and_then(|fields| {
        let one = |(name, value): (&String, &Value)| {
            Some((Some(name.clone()).filter(|name| name.len() <= MAX_TEXT)?, licence(value)?))
        };
        fields.iter().map(one).collect()
    });
    match stated {
        Some(stated) => settings.licences = stated,
        None => {
            let message = format!(
                "must be at most {MAX_LICENCES} strings or nulls by names of models, each of at most {MAX_TEXT} bytes"
            );
            errors.push(fault("/licences".into(), "invalid_licences", message));
        }
    }
}

fn read_manifest(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Option<WantedRows> {
    let text = |name: &str| fields.get(name).map(|value| value.as_str().unwrap_or_default());
    let mut choose = |name: &str, words: [&str; 2]| {
        let chosen = text(name).is_some_and(|word| word == words[1]);
        if text(name).is_some_and(|word| !words.contains(&word)) {
            let message = format!("must be one of: {}, {}", words[0], words[1]);
            errors.push(fault(format!("/{name}"), "not_a_choice", message));
        }
        chosen
    };
    let (skips_bad, unknown_to_metadata) =
        (choose("on_bad", ["fail", "skip"]), choose("unknown", ["refuse", "metadata"]));
    let replaces = match fields.get("replace") {
        None => false,
        Some(Value::Bool(replaces)) => *replaces,
        Some(_) => {
            errors.push(fault("/replace".into(), "wrong_type", "must be true or false".into()));
            false
        }
    };
    let source = match text("manifest") {
        Some(text) => match text.parse::<Source>() {
            Ok(Source::Web { .. }) => {
                let message = "must lie in the fleet's bucket, s3://bucket/key, or be an upload, upload:<id>";
                errors.push(fault("/manifest".into(), "not_allowed", message.into()));
                return None;
            }
            Ok(source) => Some(source),
            Err(message) => {
                errors.push(fault("/manifest".into(), "invalid_source", message));
                None
            }
        },
        None => {
            let alone = ["kind", "on_bad", "unknown", "replace"]
                .into_iter()
                .filter(|name| fields.contains_key(*name));
            errors.extend(
                alone.map(|name| fault(format!("/{name}"), "not_allowed", "only with a `manifest`".into())),
            );
            return None;
        }
    };
    let kind = match text("kind") {
        Some(word) => KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind),
        None => source.as_ref().and_then(kind_by_name),
    };
    if kind.is_none() && source.is_some() {
        let words = KINDS.map(|(word, _)| word).join(", ");
        errors.push(fault("/kind".into(), "not_a_choice", format!("must be one of: {words}")));
    }
    Some(WantedRows { source: source?, kind: kind?, skips_bad, unknown_to_metadata, replaces })
}

fn kind_by_name(source: &Source) -> Option<Kind> {
    match source {
        Source::S3 { key, .. } => Kind::of(Path::new(key)),
        Source::Upload { .. } | Source::Web { .. } => None,
    }
}
