//! Who scores pictures, and what they measure.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model that scores pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scorer {
    /// CLIP ViT-B/32.
    Clip,
    /// DINO ViT-S/16.
    Dino,
    /// CSD ViT-L/14.
    Csd,
    /// The bundled model's own vision encoder.
    Bundled,
}

impl Scorer {
    /// All scorers.
    pub const ALL: [Self; 4] = [Self::Clip, Self::Dino, Self::Csd, Self::Bundled];

    /// The word used in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Dino => "dino",
            Self::Csd => "csd",
            Self::Bundled => "bundled",
        }
    }

    /// What a [`Claim`](crate::Claim) calls it among the LoRAs that a worker has; no LoRA has such a name.
    pub fn claim_name(self) -> String {
        format!("{PREFIX}{}", self.as_str())
    }
}

/// What names of scorers begin with among names of LoRAs.
pub(crate) const PREFIX: &str = "scorer:";

/// A number that a scorer, or a measure of pixels, gives for a picture. Larger is better for each but `flatness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Cosine of CLIP's features: picture and content reference.
    ClipI,
    /// Cosine of CLIP's features: picture and prompt.
    ClipT,
    /// Cosine of DINO's features: picture and content reference.
    Dino,
    /// Mean cosine of CSD's features: picture and each style reference.
    Csd,
    /// Cosine of subject features of the bundled model's vision encoder: picture and content reference.
    SiglipSubject,
    /// Mean cosine of style features of that encoder: picture and each style reference.
    SiglipStyle,
    /// Variance of the Laplacian of the grey levels. It needs no model.
    Sharpness,
    /// Share of the picture's blocks that are flat, 0 to 1. It needs no model, and has no threshold.
    Flatness,
}

impl Measure {
    /// Those that may have a threshold.
    pub const THRESHOLDS: [Self; 7] = [
        Self::ClipI,
        Self::ClipT,
        Self::Dino,
        Self::Csd,
        Self::SiglipSubject,
        Self::SiglipStyle,
        Self::Sharpness,
    ];

    /// The word used in requests and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClipI => "clip_i",
            Self::ClipT => "clip_t",
            Self::Dino => "dino",
            Self::Csd => "csd",
            Self::SiglipSubject => "siglip_subject",
            Self::SiglipStyle => "siglip_style",
            Self::Sharpness => "sharpness",
            Self::Flatness => "flatness",
        }
    }

    /// Who gives it; none for a measure of pixels.
    pub fn scorer(self) -> Option<Scorer> {
        match self {
            Self::ClipI | Self::ClipT => Some(Scorer::Clip),
            Self::Dino => Some(Scorer::Dino),
            Self::Csd => Some(Scorer::Csd),
            Self::SiglipSubject | Self::SiglipStyle => Some(Scorer::Bundled),
            Self::Sharpness | Self::Flatness => None,
        }
    }

    /// What thresholds may be: cosines are within -1 to 1; the Laplacian of levels of 0 to 255 is within ±1020, and so
    /// its variance within 1020 * 1020.
    pub fn range(self) -> RangeInclusive<f64> {
        match self {
            Self::Sharpness => 0.0..=1_040_400.0,
            _ => -1.0..=1.0,
        }
    }

    /// By how much a value is above a threshold: the difference, and for [`Measure::Sharpness`], which is no cosine, its
    /// share of the threshold.
    pub(super) fn margin(self, value: f64, least: f64) -> f64 {
        match self {
            Self::Sharpness if least > 0.0 => (value - least) / least,
            _ => value - least,
        }
    }
}
