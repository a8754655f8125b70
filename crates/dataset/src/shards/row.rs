//! A row of a data set: what `key.json` and the row file hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uso_queue::Measure;

use super::split::split_of;
use crate::{Error, Outcome, Split};

/// A row of a data set. Every `key.json` of every shard has all of these fields with these types, and the row file has them
/// as columns: readers take the types of the first rows for those of all. What is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The row's number in its batch, from 0.
    pub row: u64,
    /// The row's key in its batch.
    pub key: String,
    /// The job that made it.
    pub job: String,
    /// Name of the picture's file in the shard.
    pub file: String,
    /// What was to be shown; the same as `key.txt`.
    pub prompt: String,
    /// The content reference.
    pub content: Option<String>,
    /// The style references.
    pub styles: Vec<String>,
    /// The LoRAs.
    pub loras: Vec<RowLora>,
    /// Width of the picture in pixels.
    pub width: u64,
    /// Height of the picture in pixels.
    pub height: u64,
    /// Whether the proportions of the content reference were taken.
    pub keep_size: bool,
    /// Seed of the start noise.
    pub seed: u64,
    /// Sampling steps.
    pub steps: u64,
    /// Guidance strength.
    pub guidance: f64,
    /// Longest side of the content reference in pixels.
    pub content_size: u64,
    /// The step cache's threshold; 0 if it was off.
    pub step_cache: f64,
    /// The side of the split; null if the data set has none.
    pub split: Option<String>,
    /// SHA-256 of the picture's file in hexadecimal.
    pub sha256: String,
    /// Size of the picture's file in bytes.
    pub bytes: u64,
    /// Media type of the picture's file.
    pub content_type: String,
    /// Name of the model.
    pub model: String,
    /// What the engine is known by that made it: weights, precision, kind of device and build; null if its worker did not say.
    pub weights: Option<String>,
    /// Whether it was made by a scripted engine, which generates nothing real.
    pub scripted: bool,
    /// What the device did for it, in milliseconds.
    pub device_ms: u64,
    /// Attempts begun at the job.
    pub attempts: u64,
    /// Pictures that were sampled until one was good enough.
    pub tries: u64,
    /// What scorers say.
    pub scores: Scores,
    /// Perceptual hash in hexadecimal.
    pub phash: Option<String>,
    /// The submitter's metadata as JSON text, because its types vary.
    pub metadata: Option<String>,
    /// When it was queued, in milliseconds since the epoch.
    pub submitted_ms: u64,
    /// When its first attempt began, in milliseconds since the epoch.
    pub started_ms: Option<u64>,
    /// When it ended, in milliseconds since the epoch.
    pub finished_ms: u64,
}

/// A LoRA of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowLora {
    /// What it is called.
    pub name: String,
    /// What its changes were multiplied by.
    pub weight: f64,
    /// What its numbers are known by.
    pub digest: Option<String>,
}

/// What scorers say of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scores {
    /// Likeness of the subject, by CLIP's picture encoder.
    pub clip_i: Option<f64>,
    /// Likeness of the subject, by DINO.
    pub dino: Option<f64>,
    /// Likeness of the style, by CSD.
    pub csd: Option<f64>,
    /// How well it shows the prompt, by CLIP.
    pub clip_t: Option<f64>,
    /// Likeness of the subject, by the bundled model's own encoder.
    pub siglip_subject: Option<f64>,
    /// Likeness of the style, by that encoder.
    pub siglip_style: Option<f64>,
    /// How sharp it is.
    pub sharpness: Option<f64>,
    /// How flat it is: a picture of one colour is the flattest.
    pub flatness: Option<f64>,
}

impl Scores {
    /// Those of a picture.
    fn of(scores: &BTreeMap<Measure, f64>) -> Self {
        let of = |measure| scores.get(&measure).copied();
        Self {
            clip_i: of(Measure::ClipI),
            dino: of(Measure::Dino),
            csd: of(Measure::Csd),
            clip_t: of(Measure::ClipT),
            siglip_subject: of(Measure::SiglipSubject),
            siglip_style: of(Measure::SiglipStyle),
            sharpness: of(Measure::Sharpness),
            flatness: of(Measure::Flatness),
        }
    }
}

impl Row {
    /// The row of a job that succeeded.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it has no picture, or one of an unknown kind.
    pub fn of(outcome: &Outcome, split: Option<&Split>) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Unreadable {
            object: format!("the outcome of row {}", outcome.row),
            reason,
        };
        let output = outcome.output.as_ref().ok_or_else(|| unreadable("it has no picture".into()))?;
        let extension = extension(&output.content_type)
            .ok_or_else(|| unreadable(format!("{} is no kind of picture", output.content_type)))?;
        let (spec, receipt) = (&outcome.spec, &output.receipt);
        let taken = output.scores.as_ref().and_then(uso_queue::Scores::taken);
        let digest_of = |name: &str| {
            let used = receipt.loras.iter().find(|used| used.name == name)?;
            Some(used.digest.clone())
        };
        let loras = spec.loras.iter().map(|lora| RowLora {
            name: lora.name.clone(),
            weight: lora.weight,
            digest: digest_of(&lora.name),
        });
        Ok(Self {
            row: outcome.row,
            key: outcome.key.clone(),
            job: outcome.job.to_string(),
            file: format!("{}.{extension}", stem(&outcome.key)),
            prompt: spec.prompt.clone(),
            content: spec.content.as_ref().map(uso_queue::Source::shown),
            styles: spec.styles.iter().map(uso_queue::Source::shown).collect(),
            loras: loras.collect(),
            width: output.width.into(),
            height: output.height.into(),
            keep_size: spec.keep_size,
            seed: taken.map_or(spec.seed, |taken| taken.seed),
            steps: spec.steps.into(),
            guidance: spec.guidance,
            content_size: spec.content_size.into(),
            step_cache: spec.step_cache,
            split: split.map(|split| split_of(&outcome.key, &spec.metadata, split).to_owned()),
            sha256: output.sha256.clone(),
            bytes: output.bytes,
            content_type: output.content_type.clone(),
            model: receipt.model.clone(),
            weights: receipt.fingerprint.clone(),
            scripted: receipt.scripted,
            device_ms: receipt.device_ms,
            attempts: outcome.attempt.into(),
            tries: receipt.tries.unwrap_or(1).into(),
            scores: taken.map(|taken| Scores::of(&taken.scores)).unwrap_or_default(),
            phash: output.scores.as_ref().and_then(|scores| scores.phash.clone()),
            metadata: Some(&spec.metadata).filter(|value| !value.is_null()).map(Value::to_string),
            submitted_ms: outcome.submitted_ms,
            started_ms: outcome.started_ms,
            finished_ms: outcome.finished_ms,
        })
    }
}

impl Row {
    /// What all of its files in the shard are called before their ending.
    pub fn stem(&self) -> &str {
        self.file.rsplit_once('.').map_or(self.file.as_str(), |(stem, _)| stem)
    }
}

/// What comes behind a picture's key in the name of its file.
pub(super) fn extension(content_type: &str) -> Option<&'static str> {
    match content_type {
        "image/png" => Some("png"),
        "image/webp" => Some("webp"),
        "image/jpeg" => Some("jpg"),
        _ => None,
    }
}

/// Longest name of a sample in bytes: names of files may have 255.
const LONGEST_STEM: usize = 200;

/// What the files of a row are called before their ending: its key, with what may not be in the name of a sample written as
/// `%` and two digits. WebDataset takes what comes behind the first dot for the kind of a file, and nobody may leave a
/// folder by a name.
fn stem(key: &str) -> String {
    let mut stem = String::with_capacity(key.len());
    for letter in key.chars() {
        if letter.is_control() || letter.is_whitespace() || "./\\%:*?\"<>|".contains(letter) {
            let mut bytes = [0; 4];
            let bytes = letter.encode_utf8(&mut bytes).bytes();
            stem.extend(bytes.map(|byte| format!("%{byte:02X}")));
        } else {
            stem.push(letter);
        }
    }
    if stem.is_empty() || stem.len() > LONGEST_STEM {
        return hex::encode(Sha256::digest(key));
    }
    stem
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_columns_are_the_fields() {
        use crate::shards::columns::{COLUMNS, Column, Kind};
        let row: Row = serde_json::from_value(json!({
            "row": 0, "key": "", "job": "", "file": "", "prompt": "", "content": null, "styles": [],
            "loras": [{ "name": "", "weight": 1.0, "digest": null }], "width": 0, "height": 0, "keep_size": false,
            "seed": 0, "steps": 0, "guidance": 0.0, "content_size": 0, "step_cache": 0.0, "split": null, "sha256": "",
            "bytes": 0, "content_type": "", "model": "", "weights": null, "scripted": false, "device_ms": 0,
            "attempts": 0, "tries": 0, "scores": {}, "phash": null, "metadata": null, "submitted_ms": 0,
            "started_ms": null, "finished_ms": 0,
        }))
        .unwrap();
        let row = serde_json::to_value(row).unwrap();
        fn check(columns: &[Column], value: &Value) {
            let fields = value.as_object().unwrap();
            let mut names: Vec<&str> = columns.iter().map(|column| column.name).collect();
            names.sort_unstable();
            assert!(fields.keys().eq(&names), "{names:?} {value}");
            for Column { name, kind, nullable } in columns {
                let field = &value[name];
                assert_eq!(field.is_null(), *nullable, "{name}");
                match kind {
                    _ if *nullable => {}
                    Kind::Text => assert!(field.is_string(), "{name}"),
                    Kind::Integer => assert!(field.is_u64(), "{name}"),
                    Kind::Float => assert!(field.is_f64(), "{name}"),
                    Kind::Boolean => assert!(field.is_boolean(), "{name}"),
                    Kind::Texts => assert!(field.is_array(), "{name}"),
                    Kind::List(fields) => check(fields, &field[0]),
                    Kind::Group(fields) => check(fields, field),
                }
            }
        }
        check(COLUMNS, &row);
    }
}
