//! What a grid file says, and what it may fix.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::rows::fields::holds;

/// What a grid file says, as it stands there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GridFile {
    pub(super) subjects: Vec<Value>,
    pub(super) styles: Vec<Value>,
    pub(super) style_pairs: Vec<[String; 2]>,
    pub(super) prompts: Vec<String>,
    pub(super) seeds: Value,
    pub(super) sizes: Vec<Value>,
    pub(super) fixed: Map<String, Value>,
    pub(super) exclude: Vec<Map<String, Value>>,
    pub(super) sample: Option<u64>,
    pub(super) sample_seed: u64,
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
