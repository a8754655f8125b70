//! What is in a shard.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::doubles::NearDoubles;
use super::row::Row;

/// What is in a shard: `_meta/{n}_stats.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The shard's number, from 0.
    pub shard: u32,
    /// Name of the tar.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Size of the tar in bytes.
    pub bytes: u64,
    /// SHA-256 of the tar in hexadecimal.
    pub sha256: String,
    /// Name of the file with the same rows.
    pub row_file: String,
    /// Size of that file in bytes.
    pub row_file_bytes: u64,
    /// SHA-256 of that file in hexadecimal.
    pub row_file_sha256: String,
    /// Rows of it whose pictures look alike; none if a version before made it, which did not compare them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_doubles: Option<NearDoubles>,
    /// What is counted over its rows.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What is counted over rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Size of all pictures in bytes.
    pub picture_bytes: u64,
    /// The least number of a row.
    pub first_row: Option<u64>,
    /// The largest number of a row.
    pub last_row: Option<u64>,
    /// Rows on each side of the split; empty without one.
    pub splits: BTreeMap<String, u64>,
    /// Rows of them without the field that the split goes by: their keys decided.
    pub split_by_key: u64,
    /// Rows for each ending of a picture's file.
    pub formats: BTreeMap<String, u64>,
    /// Rows for each model.
    pub models: BTreeMap<String, u64>,
    /// Rows for each set of weights, by what it is known by.
    pub weights: BTreeMap<String, u64>,
    /// Rows for each LoRA, by its name and what its numbers are known by.
    pub loras: BTreeMap<String, u64>,
    /// Least and largest value of each parameter.
    pub parameters: BTreeMap<String, Extent>,
    /// Rows of a scripted engine, which generates nothing real.
    pub scripted: u64,
    /// Pictures that were sampled for these rows.
    pub tries: u64,
    /// What the device did for these rows, in milliseconds.
    pub device_ms: u64,
}

/// Least and largest value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Extent {
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Counts {
    /// Counts a row.
    pub(super) fn add(&mut self, row: &Row) {
        self.picture_bytes += row.bytes;
        self.first_row = Some(self.first_row.map_or(row.row, |first| first.min(row.row)));
        self.last_row = Some(self.last_row.map_or(row.row, |last| last.max(row.row)));
        let formats = row.file.rsplit('.').next().unwrap_or_default();
        *self.formats.entry(formats.to_owned()).or_default() += 1;
        *self.models.entry(row.model.clone()).or_default() += 1;
        if let Some(split) = &row.split {
            *self.splits.entry(split.clone()).or_default() += 1;
        }
        if let Some(weights) = &row.weights {
            *self.weights.entry(weights.clone()).or_default() += 1;
        }
        for lora in &row.loras {
            let digest = lora.digest.as_deref().unwrap_or("not known");
            *self.loras.entry(format!("{} ({digest})", lora.name)).or_default() += 1;
        }
        let parameters = [
            ("width", row.width as f64),
            ("height", row.height as f64),
            ("steps", row.steps as f64),
            ("guidance", row.guidance),
            ("content_size", row.content_size as f64),
            ("step_cache", row.step_cache),
        ];
        for (name, value) in parameters {
            widen(&mut self.parameters, name, Extent { min: value, max: value });
        }
        self.scripted += u64::from(row.scripted);
        self.tries += row.tries;
        self.device_ms += row.device_ms;
    }

    /// Counts what was counted elsewhere.
    pub(super) fn merge(&mut self, other: &Self) {
        self.first_row = self.first_row.into_iter().chain(other.first_row).min();
        self.last_row = self.last_row.max(other.last_row);
        let pairs = [
            (&mut self.splits, &other.splits),
            (&mut self.formats, &other.formats),
            (&mut self.models, &other.models),
            (&mut self.weights, &other.weights),
            (&mut self.loras, &other.loras),
        ];
        for (sums, others) in pairs {
            for (name, count) in others {
                add(sums.entry(name.clone()).or_default(), *count);
            }
        }
        for (name, extent) in &other.parameters {
            widen(&mut self.parameters, name, *extent);
        }
        add(&mut self.picture_bytes, other.picture_bytes);
        add(&mut self.split_by_key, other.split_by_key);
        add(&mut self.scripted, other.scripted);
        add(&mut self.tries, other.tries);
        add(&mut self.device_ms, other.device_ms);
    }
}

/// Adds up what was read, which may be any numbers.
fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

fn widen(parameters: &mut BTreeMap<String, Extent>, name: &str, by: Extent) {
    let extent = parameters.entry(name.to_owned()).or_insert(by);
    *extent = Extent { min: extent.min.min(by.min), max: extent.max.max(by.max) };
}
