//! Which scorers there are, and where their files lie.

use std::fmt;

use serde::Serialize;

/// Where a model folder has the folder of all scorers, with a slash at its end.
pub const FOLDER: &str = "scorers/";

/// A model that scores pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScorerKind {
    /// CLIP ViT-B/32: the subject (CLIP-I) and the prompt (CLIP-T).
    Clip,
    /// DINO ViT-S/16: the subject.
    Dino,
    /// CSD (contrastive style descriptors) ViT-L/14: the style.
    Csd,
}

impl ScorerKind {
    /// All scorers.
    pub const ALL: [Self; 3] = [Self::Clip, Self::Dino, Self::Csd];

    /// Its folder inside the folder of all scorers, which is also the first part of its profile's name.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Clip => "clip-vit-b32",
            Self::Dino => "dino-vits16",
            Self::Csd => "csd-vitl14",
        }
    }

    /// Names of its weight file in that folder. The first that is there is taken.
    pub const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Clip => &["model.safetensors", "pytorch_model.bin"],
            Self::Dino => &["model.safetensors", "dino_deitsmall16_pretrain.pth", "pytorch_model.bin"],
            Self::Csd => &["model.safetensors", "pytorch_model.bin", "csd.pth", "checkpoint.pth"],
        }
    }
}

impl fmt::Display for ScorerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clip => "CLIP",
            Self::Dino => "DINO",
            Self::Csd => "CSD",
        })
    }
}
