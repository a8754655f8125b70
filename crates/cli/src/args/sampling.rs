//! How a picture is sampled.

use clap::Args;
use serde_json::{Map, Value};

/// Reads a number that JSON has: NaN and infinity would become null there, which asks for the default.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if number.is_finite() { Ok(number) } else { Err(format!("{text} is not a finite number")) }
}

/// Reads a seed.
///
/// # Errors
/// Which numbers it may be.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

/// How a picture is sampled. What is left out gets defaults.
#[derive(Args)]
pub(crate) struct SamplingArgs {
    /// Width in pixels, 16 to 2048, rounded down to a multiple of 16.
    #[arg(long)]
    pub(crate) width: Option<u32>,
    /// Height in pixels, 16 to 2048, rounded down to a multiple of 16.
    #[arg(long)]
    pub(crate) height: Option<u32>,
    /// Sampling steps, 1 to 100.
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Guidance strength, 1 to 10.
    #[arg(long, value_parser = finite)]
    pub(crate) guidance: Option<f64>,
    /// Longest side of the content reference in pixels, 16 to 2048.
    #[arg(long)]
    pub(crate) content_size: Option<u32>,
}

impl SamplingArgs {
    /// What was given, as fields of a job.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let Self { width, height, steps, guidance, content_size } = self;
        let numbers = [
            ("width", width.map(Value::from)),
            ("height", height.map(Value::from)),
            ("steps", steps.map(Value::from)),
            ("guidance", guidance.map(Value::from)),
            ("content_size", content_size.map(Value::from)),
        ];
        numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}
