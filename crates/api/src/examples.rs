//! Requests to begin with, and the pictures that they name.

use schemars::JsonSchema;
use serde::Serialize;

/// A set of parameters and pictures to begin with.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Example {
    /// What it shows, in a few words.
    pub title: String,
    /// The prompt.
    pub prompt: String,
    /// Name of the content reference among the pictures of [`Examples`].
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_address")]
    pub content: Option<String>,
    /// Names of the style references.
    #[serde(serialize_with = "addresses")]
    pub styles: Vec<String>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Seed of the start noise.
    pub seed: u64,
    /// Sampling steps.
    pub steps: u32,
    /// Whether the proportions of the content reference are taken instead.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_size: bool,
}

/// Sets of parameters to begin with, and the pictures that they name.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// The sets.
    pub sets: Vec<Example>,
    /// Name and bytes of each picture.
    pub pictures: Vec<(String, &'static [u8])>,
}

fn address(name: &str) -> String {
    format!("/examples/{name}")
}

fn optional_address<S: serde::Serializer>(name: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_deref().map(address).serialize(serializer)
}

fn addresses<S: serde::Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(|name| address(name)))
}
