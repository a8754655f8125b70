//! What each row must hold to, whatever other rows say.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uso_queue::{Defaults, FieldError, JobSpec, Source};

use super::asked::{is_random, write_asked};
use super::fields::{MAX_ROW_KEY, METADATA, holds, is_key};
use super::row::{BadRow, Digest, RawRow, Row, fault};
use crate::Split;

/// Stands for a reference that could not be found, so that its row's other faults are found too.
const MISSING: &str = "s3://missing/missing";
/// Characters of a key that a row did not bring: 80 bits of a hash.
const HASH_KEY: usize = 20;

/// How rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Put fields that a job has not into its `metadata` instead of refusing them.
    pub unknown_to_metadata: bool,
}

/// What a reference of a manifest became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where the fleet finds it, written as a [`Source`].
    pub source: String,
    /// Digest of its content, if you know it: part of the row's digest, so that a file that holds another picture under
    /// the same name makes a changed row.
    pub content: Option<String>,
}

impl Reference {
    /// The reference as it is written, if the fleet can find it there; none for what may be the path of a file.
    pub fn remote(text: &str) -> Option<Self> {
        text.parse::<Source>().is_ok().then(|| text.to_owned().into())
    }
}

impl From<String> for Reference {
    fn from(source: String) -> Self {
        Self { source, content: None }
    }
}

type Resolve = dyn Fn(&str) -> Result<Reference, String> + Send + Sync;

/// What each row must hold to, whatever other rows say.
pub struct Rules {
    defaults: Defaults,
    options: Options,
    resolve: Option<Box<Resolve>>,
    split: Option<Split>,
}

impl Rules {
    /// Rules with what a row that leaves a field out gets. References are taken as they are written.
    pub fn new(defaults: Defaults, options: Options) -> Self {
        Self { defaults, options, resolve: None, split: None }
    }

    /// References are what `resolve` makes of them; what it says instead becomes a fault of the row's field. It is
    /// called for each reference of each row, on several threads.
    #[must_use]
    pub fn with_references(
        mut self,
        resolve: impl Fn(&str) -> Result<Reference, String> + Send + Sync + 'static,
    ) -> Self {
        self.resolve = Some(Box::new(resolve));
        self
    }

    /// A row needs the field of metadata that the data set is split by.
    #[must_use]
    pub fn with_split(mut self, split: Option<Split>) -> Self {
        self.split = split;
        self
    }

    /// Checks a row. Fills in what it leaves open: class `bulk`, a key from a hash of what it asks for, a seed from a
    /// hash of its key; so the same row always gives the same job.
    ///
    /// A row may bring its `digest`, unless unknown fields go into its metadata: whoever has uploaded a row's pictures knows
    /// what they hold, while each upload of a picture has another name.
    ///
    /// # Errors
    /// All that is wrong with the row.
    pub fn read(&self, raw: RawRow) -> Result<Row, BadRow> {
        let RawRow { line, mut fields, labels } = raw;
        let mut faults = Vec::new();
        fields.retain(|_, value| !value.is_null());
        if self.options.unknown_to_metadata {
            unknown_to_metadata(&mut fields, &mut faults);
        }
        let given = take_key(&mut fields, &mut faults);
        let brought = take_digest(&mut fields, &mut faults);
        let mut asked = Vec::with_capacity(256);
        write_asked(&fields, &mut asked);
        let content_hash: [u8; 32] = Sha256::digest(&asked).into();
        let key = given.unwrap_or_else(|| hex::encode(&content_hash[..HASH_KEY / 2]));
        let group = group(&fields);
        let digest = match self.resolve(&mut fields, &mut faults) {
            contents if contents.is_empty() => Digest::of(&content_hash),
            contents => {
                Digest::of(&Sha256::new().chain_update(&asked).chain_update(contents).finalize().into())
            }
        };
        fields.entry("class").or_insert_with(|| "bulk".into());
        if fields.get("seed").is_none_or(is_random) {
            fields.insert("seed".to_owned(), seed_of(&key).into());
        }
        add_labels(&mut fields, labels, &mut faults);
        if let Some(split) = &self.split {
            check_split(&fields, split, &mut faults);
        }
        match JobSpec::parse(&Value::Object(fields), &self.defaults) {
            Ok(job) if faults.is_empty() => {
                Ok(Row { line, key, digest: brought.unwrap_or(digest), group, job })
            }
            Ok(_) => Err(BadRow::with(line, faults)),
            Err(others) => {
                faults.extend(others);
                Err(BadRow::with(line, faults))
            }
        }
    }

    /// Replaces the row's references, and gives what is known of their contents.
    fn resolve(&self, fields: &mut Map<String, Value>, faults: &mut Vec<FieldError>) -> String {
        let mut contents = String::new();
        let Some(resolve) = &self.resolve else { return contents };
        let mut replace = |pointer: &str, value: &mut Value| {
            let Value::String(text) = value else { return };
            if text.is_empty() {
                faults.push(fault(pointer, "invalid_source", "is empty"));
                *text = MISSING.to_owned();
                return;
            }
            let reference = resolve(text).unwrap_or_else(|message| {
                faults.push(fault(pointer, "invalid_source", message));
                MISSING.to_owned().into()
            });
            *text = reference.source;
            if let Some(content) = reference.content {
                contents.push_str(&format!("{pointer}={content}\n"));
            }
        };
        if let Some(value) = fields.get_mut("content") {
            replace("/content", value);
        }
        if let Some(Value::Array(styles)) = fields.get_mut("styles") {
            styles.iter_mut().enumerate().for_each(|(i, value)| replace(&format!("/styles/{i}"), value));
        }
        contents
    }
}

/// Moves fields that a row has not into its metadata.
fn unknown_to_metadata(fields: &mut Map<String, Value>, faults: &mut Vec<FieldError>) {
    let names: Vec<String> = fields.keys().filter(|name| holds(name).is_none()).cloned().collect();
    let unknown: Vec<(String, Value)> = names.iter().filter_map(|name| fields.remove_entry(name)).collect();
    if unknown.is_empty() {
        return;
    }
    let Value::Object(metadata) = fields.entry(METADATA).or_insert_with(|| Map::new().into()) else {
        let message = "must be an object, because unknown columns are put there";
        faults.push(fault("/metadata", "wrong_type", message));
        return;
    };
    for (name, value) in unknown {
        if metadata.contains_key(&name) {
            let pointer = FieldError::unknown(&name).pointer;
            faults.push(fault(&pointer, "twice", "is a column and in metadata too"));
        } else {
            metadata.insert(name, value);
        }
    }
}

/// The key that the row brings, if it brings one.
fn take_key(fields: &mut Map<String, Value>, faults: &mut Vec<FieldError>) -> Option<String> {
    match fields.remove("key")? {
        Value::String(key) if is_key(&key) => Some(key),
        Value::String(_) => {
            let message = format!("must be 1 to {MAX_ROW_KEY} letters, digits, `_` and `-`, without dots");
            faults.push(fault("/key", "invalid_key", message));
            None
        }
        _ => {
            faults.push(fault("/key", "wrong_type", "must be a string"));
            None
        }
    }
}

/// The digest that the row brings, if it brings one.
fn take_digest(fields: &mut Map<String, Value>, faults: &mut Vec<FieldError>) -> Option<Digest> {
    let digest = serde_json::from_value(fields.remove("digest")?);
    digest.map_err(|error| faults.push(fault("/digest", "invalid_digest", error.to_string()))).ok()
}

fn add_labels(fields: &mut Map<String, Value>, labels: Map<String, Value>, faults: &mut Vec<FieldError>) {
    if labels.is_empty() {
        return;
    }
    match fields.entry(METADATA).or_insert_with(|| Map::new().into()) {
        Value::Object(metadata) => metadata.extend(labels),
        _ => faults.push(fault("/metadata", "wrong_type", "must be an object")),
    }
}

fn check_split(fields: &Map<String, Value>, split: &Split, faults: &mut Vec<FieldError>) {
    if split.is_missing(fields.get(METADATA).unwrap_or(&Value::Null)) {
        let pointer = format!("/metadata{}", FieldError::unknown(&split.by).pointer);
        faults.push(fault(&pointer, "missing", "is missing; the data set is split by it"));
    }
}

/// The seed of a row that asks for none: 32 bits, which is all that the noise uses.
fn seed_of(key: &str) -> u32 {
    let hash = Sha256::new().chain_update(b"seed\n").chain_update(key).finalize();
    hash[..4].iter().fold(0, |seed, byte| seed << 8 | u32::from(*byte))
}

/// Equal for rows with the same references as written, or the same prompt if there are none.
fn group(fields: &Map<String, Value>) -> u64 {
    let mut hash = Sha256::new();
    let mut any = false;
    let content = fields.get("content").and_then(Value::as_str).unwrap_or_default();
    let styles = fields.get("styles").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for text in std::iter::once(content).chain(styles.iter().filter_map(Value::as_str)) {
        any |= !text.is_empty();
        hash.update(text);
        hash.update(b"\n");
    }
    if !any {
        hash.update(fields.get("prompt").and_then(Value::as_str).unwrap_or_default());
    }
    Digest::of(&hash.finalize().into()).short() >> 11
}
