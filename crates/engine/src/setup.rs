//! How a model is loaded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use candle_core::{DType, Device};

use crate::Error;
use crate::matrix::Tier;
use crate::request::LORA_WEIGHT;

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it lies.
    pub device: Device,
    /// The type that is computed in.
    pub dtype: DType,
    /// What the transformer's large matrices are brought to that a file has in wide floats. What a file has quantised stays
    /// as it is.
    pub tier: Tier,
    /// Where T5 lies.
    pub t5: T5Place,
    /// LoRAs beside USO's.
    pub loras: Vec<ExtraLora>,
    /// The folder of LoRAs that requests may name.
    pub lora_folder: Option<PathBuf>,
}

/// Where T5 lies and computes: its weights are almost half of a model's, and a prompt needs them once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum T5Place {
    /// With the rest.
    #[default]
    Device,
    /// In host memory, computed by the processor. What its file has in wide floats is kept in q8_0.
    Host,
}

impl fmt::Display for T5Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Device => "device",
            Self::Host => "host",
        })
    }
}

impl FromStr for T5Place {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "device" => Ok(Self::Device),
            "host" => Ok(Self::Host),
            _ => Err(Error::Request { parameter: "t5", reason: format!("{name:?} is none of device, host") }),
        }
    }
}

impl Setup {
    /// All matrices in the compute type or as their file has them, and no LoRA beside USO's.
    pub const fn new(device: Device, dtype: DType) -> Self {
        let (tier, t5) = (Tier::Bf16, T5Place::Device);
        Self { device, dtype, tier, t5, loras: Vec::new(), lora_folder: None }
    }
}

/// A LoRA for the transformer beside USO's.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraLora {
    /// Its file.
    pub file: PathBuf,
    /// What its changes are multiplied by.
    pub weight: f64,
}

impl FromStr for ExtraLora {
    type Err = Error;

    /// Reads `FILE` or `FILE:WEIGHT`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::Request { parameter: "lora", reason };
        let (file, weight) = match text.rsplit_once(':') {
            // A name may have a colon of its own.
            Some((file, weight)) if !Path::new(text).is_file() => {
                let weight: f64 = weight.parse().map_err(|_| refused(format!("{weight:?} is no number")))?;
                (file, weight)
            }
            _ => (text, 1.0),
        };
        if !LORA_WEIGHT.contains(&weight) {
            let (least, most) = (LORA_WEIGHT.start(), LORA_WEIGHT.end());
            return Err(refused(format!("weight {weight} is not within {least} to {most}")));
        }
        Ok(Self { file: file.into(), weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lora_has_a_file_and_maybe_a_weight() {
        let read = |text: &str| text.parse::<ExtraLora>().map(|lora| (lora.file, lora.weight));
        assert_eq!(read("a.safetensors").unwrap(), ("a.safetensors".into(), 1.0));
        assert_eq!(read("/x/a.safetensors:0.5").unwrap(), ("/x/a.safetensors".into(), 0.5));
        assert_eq!(read("a:-1").unwrap(), ("a".into(), -1.0));
        for refused in ["a:much", "a:11", "a:NaN"] {
            assert!(read(refused).unwrap_err().to_string().starts_with("lora: "), "{refused}");
        }
    }
}
