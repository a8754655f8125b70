//! Settings for loading a model.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use candle_core::{DType, Device};

use crate::Error;
use crate::placement::Placement;
use crate::plan::{Picture, Plan, Speed};
use crate::request::LORA_WEIGHT;

/// Settings for loading a model.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The device.
    pub device: Device,
    /// The compute type.
    pub dtype: DType,
    /// Where its parts are, and how its large matrices are stored.
    pub placement: Placement,
    /// LoRAs besides USO's.
    pub loras: Vec<ExtraLora>,
    /// The folder of LoRAs that requests may ask for.
    pub lora_folder: Option<PathBuf>,
    /// Whether to check a packed file's numbers against the digest that it states, which reads the whole file.
    pub verify: bool,
    /// The plan, if there is one.
    pub plan: Option<Planned>,
}

/// Results of a plan that matter after loading.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan in one line.
    pub summary: String,
    /// Most bytes of device memory that samples and encoded prompts may take.
    pub budget: u64,
    /// Bytes of device memory to keep free.
    pub reserve: u64,
    /// The device's speed, if it is known.
    pub speed: Option<Speed>,
    /// Bytes of weight files that loading will read.
    pub stored_bytes: u64,
    /// The largest picture that the plan is for.
    pub largest: Picture,
}

impl Setup {
    /// Everything on the device, matrices in the compute type or as in their file, and no LoRA besides USO's.
    pub fn new(device: Device, dtype: DType) -> Self {
        Self {
            device,
            dtype,
            placement: Placement::default(),
            loras: Vec::new(),
            lora_folder: None,
            verify: false,
            plan: None,
        }
    }

    /// Settings that follow a plan for this device and compute type.
    pub fn planned(device: Device, dtype: DType, plan: &Plan) -> Self {
        let planned = Planned {
            summary: plan.summary(),
            budget: plan.device.usable_bytes.saturating_sub(plan.device.resident_bytes),
            reserve: plan.device.reserve_bytes,
            speed: plan.hardware.speed.clone(),
            stored_bytes: plan.stored_bytes,
            largest: plan.picture,
        };
        Self { placement: plan.placement, plan: Some(planned), ..Self::new(device, dtype) }
    }
}

/// A LoRA for the transformer besides USO's.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraLora {
    /// Its file.
    pub file: PathBuf,
    /// Factor of its changes.
    pub weight: f64,
}

impl FromStr for ExtraLora {
    type Err = Error;

    /// Reads `FILE` or `FILE:WEIGHT`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::Request { parameter: "lora", reason };
        let (file, weight) = match text.rsplit_once(':') {
            // A file name may contain a colon.
            Some((file, weight)) if !Path::new(text).is_file() => {
                let weight: f64 =
                    weight.parse().map_err(|_| refused(format!("{weight:?} is not a number")))?;
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
