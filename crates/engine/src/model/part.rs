//! The parts that a model is made of.

use std::fmt;

/// A part of a USO model, with weights of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// FLUX's transformer.
    Transformer,
    /// FLUX's autoencoder.
    Autoencoder,
    /// USO's LoRA for the transformer.
    Lora,
    /// USO's style projector.
    Projector,
    /// The T5 encoder.
    T5,
    /// The text half of CLIP.
    Clip,
    /// The SigLIP vision encoder.
    Siglip,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Transformer,
        Self::Autoencoder,
        Self::Lora,
        Self::Projector,
        Self::T5,
        Self::Clip,
        Self::Siglip,
    ];

    /// The part's place in this project's own layout: a file, or a folder that ends with `/`.
    pub const fn place(self) -> &'static str {
        match self {
            Self::Transformer => "FLUX.1-dev/flux1-dev.safetensors",
            Self::Autoencoder => "FLUX.1-dev/ae.safetensors",
            Self::Lora => "USO/uso_flux_v1.0/dit_lora.safetensors",
            Self::Projector => "USO/uso_flux_v1.0/projector.safetensors",
            Self::T5 => "t5-xxl/",
            Self::Clip => "clip-vit-l14/",
            Self::Siglip => "siglip/",
        }
    }

    /// Whether a path is the part's place in this project's layout, or inside it.
    pub fn is_own_place(self, path: &str) -> bool {
        let place = self.place();
        if place.ends_with('/') { path.starts_with(place) } else { path == place }
    }

    /// Prefixes of its tensors in published files, the longest first.
    pub(crate) const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Transformer => &["model.diffusion_model.", "diffusion_model.", ""],
            Self::Autoencoder => &["first_stage_model.", "vae.", ""],
            Self::Lora | Self::Siglip => &[""],
            Self::Projector => &["feature_embedder.", ""],
            Self::T5 => &["text_encoders.t5xxl.transformer.", "t5xxl.transformer.", ""],
            Self::Clip => &["text_encoders.clip_l.transformer.", "clip_l.transformer.", ""],
        }
    }

    /// Whether it is one of the encoders, whose files have towers, heads and buffers that USO does not use.
    pub const fn is_encoder(self) -> bool {
        matches!(self, Self::T5 | Self::Clip | Self::Siglip)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Transformer => "FLUX transformer",
            Self::Autoencoder => "FLUX autoencoder",
            Self::Lora => "USO LoRA",
            Self::Projector => "USO style projector",
            Self::T5 => "T5 encoder",
            Self::Clip => "CLIP text encoder",
            Self::Siglip => "SigLIP vision encoder",
        })
    }
}
