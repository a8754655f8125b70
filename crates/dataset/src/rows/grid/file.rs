//! What a grid file says, and what it may fix.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::rows::fields::holds;

/// What a grid file says, as it stands there; none for what is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GridFile {
    #[serde(deserialize_with = "given")]
    pub(super) subjects: Option<Vec<Value>>,
    #[serde(deserialize_with = "given")]
    pub(super) styles: Option<Vec<Value>>,
    #[serde(deserialize_with = "given")]
    pub(super) style_pairs: Option<Vec<[String; 2]>>,
    #[serde(deserialize_with = "given")]
    pub(super) prompts: Option<Vec<String>>,
    #[serde(deserialize_with = "given")]
    pub(super) seeds: Option<Value>,
    #[serde(deserialize_with = "given")]
    pub(super) sizes: Option<Vec<Value>>,
    pub(super) fixed: Map<String, Value>,
    pub(super) exclude: Vec<Map<String, Value>>,
    pub(super) sample: Option<u64>,
    pub(super) sample_seed: u64,
}

/// What stands there, be it nothing.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl GridFile {
    /// Reads it. An empty list would have no part in the rows, and nobody writes it down for that.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#')) {
            return Err("it is empty".to_owned());
        }
        let file: Self = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let no_seeds = |seeds: &Value| seeds.is_null() || seeds.as_array().is_some_and(Vec::is_empty);
        let empty = [
            ("subjects", is_empty(&file.subjects)),
            ("styles", is_empty(&file.styles)),
            ("style_pairs", is_empty(&file.style_pairs)),
            ("prompts", is_empty(&file.prompts)),
            ("seeds", file.seeds.as_ref().is_some_and(no_seeds)),
            ("sizes", is_empty(&file.sizes)),
        ];
        match empty.iter().find(|(_, is_empty)| *is_empty) {
            Some((name, _)) => Err(format!("{name} is empty: leave it out or list at least one")),
            None if file.sample == Some(0) => Err("sample is 0: leave it out or ask for a row".to_owned()),
            None => Ok(file),
        }
    }
}

fn is_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(Vec::is_empty)
}

/// The fields that all rows have, which must not be those that the grid sets itself.
pub(super) fn fixed(file: &GridFile, set: &[&str]) -> Result<Map<String, Value>, String> {
    for (name, value) in &file.fixed {
        if name == "key" || holds(name).is_none() {
            return Err(format!("fixed: {name} is no field that all rows can have"));
        }
        if set.contains(&name.as_str()) {
            return Err(format!("fixed: {name} is set by the grid itself"));
        }
        if name == "metadata" {
            let Value::Object(metadata) = value else {
                return Err("fixed: metadata must be an object".to_owned());
            };
            if let Some(name) =
                ["subject", "style", "prompt"].into_iter().find(|name| metadata.contains_key(*name))
            {
                return Err(format!("fixed: metadata.{name} is set by the grid itself"));
            }
        }
    }
    Ok(file.fixed.clone())
}

/// A text, number or truth as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A size: `[width, height]` or `"WIDTHxHEIGHT"`, in pixels.
pub(super) fn size(value: &Value) -> Option<(u64, u64)> {
    match value {
        Value::Array(sides) => match sides.as_slice() {
            [width, height] => Some((width.as_u64()?, height.as_u64()?)),
            _ => None,
        },
        Value::String(text) => {
            let (width, height) = text.split_once(['x', 'X', '×'])?;
            Some((width.trim().parse().ok()?, height.trim().parse().ok()?))
        }
        _ => None,
    }
}
