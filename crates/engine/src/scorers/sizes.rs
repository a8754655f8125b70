//! Sizes of the scorers' transformers, and the tensors that follow from them.
//!
//! Published files come without sizes, so these are the published ones. A `config.json` beside the weights may have
//! others, under Hugging Face's names.

use serde::Deserialize;

use super::kind::ScorerKind;
use crate::config::Nested as _;
use crate::config::limits::{MOST_LAYERS, MOST_PIXELS, MOST_WIDTH, at_most, divides};
use crate::files::missing;
use crate::model::expected::{self, Expected};
use crate::{ClipConfig, Error, ModelFiles};

/// Sizes of a vision transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Width of a token.
    pub(super) width: usize,
    /// Width of the feed-forward layers.
    pub(super) expanded: usize,
    /// Blocks.
    pub(super) depth: usize,
    /// Attention heads.
    pub(super) heads: usize,
    /// Side of a patch in pixels.
    pub(super) patch: usize,
    /// Side of the square input in pixels.
    pub(super) side: usize,
    /// Width of the feature.
    pub(super) feature: usize,
}

/// The sizes that a `config.json` states.
#[derive(Debug, Default, Deserialize)]
struct Stated {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    patch_size: Option<usize>,
    image_size: Option<usize>,
    projection_dim: Option<usize>,
    hidden_act: Option<String>,
    #[serde(default)]
    vision_config: Option<Box<Stated>>,
    #[serde(default)]
    text_config: Option<serde_json::Value>,
}

const CONFIGURATION: &str = "config.json";

impl Sizes {
    /// The published sizes.
    pub(super) const fn published(kind: ScorerKind) -> Self {
        match kind {
            ScorerKind::Clip => {
                Self { width: 768, expanded: 3072, depth: 12, heads: 12, patch: 32, side: 224, feature: 512 }
            }
            ScorerKind::Dino => {
                Self { width: 384, expanded: 1536, depth: 12, heads: 6, patch: 16, side: 224, feature: 384 }
            }
            ScorerKind::Csd => {
                Self { width: 1024, expanded: 4096, depth: 24, heads: 16, patch: 14, side: 224, feature: 768 }
            }
        }
    }

    /// The sizes of the scorer in these files.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if there is a configuration and it is faulty.
    pub(super) fn read(files: &ModelFiles, kind: ScorerKind) -> Result<Self, Error> {
        let path = format!("{}/{CONFIGURATION}", kind.folder());
        if !files.contains(&path) {
            return Ok(Self::published(kind));
        }
        let mut whole: Stated = files.read_json(&path)?;
        let projection = whole.projection_dim;
        let stated = whole.vision_config.take().map_or(whole, |nested| *nested);
        let sizes = Self::published(kind).with(&stated, kind, projection);
        sizes.check(&stated, kind).map_err(|reason| missing(&path, reason))?;
        Ok(sizes)
    }

    fn with(self, stated: &Stated, kind: ScorerKind, projection: Option<usize>) -> Self {
        let width = stated.hidden_size.unwrap_or(self.width);
        Self {
            width,
            expanded: stated.intermediate_size.unwrap_or(self.expanded),
            depth: stated.num_hidden_layers.unwrap_or(self.depth),
            heads: stated.num_attention_heads.unwrap_or(self.heads),
            patch: stated.patch_size.unwrap_or(self.patch),
            side: stated.image_size.unwrap_or(self.side),
            feature: if kind == ScorerKind::Dino { width } else { projection.unwrap_or(self.feature) },
        }
    }

    fn check(&self, stated: &Stated, kind: ScorerKind) -> Result<(), String> {
        let heads = ("num_attention_heads", self.heads);
        let (width, side) = (("hidden_size", self.width), ("image_size", self.side));
        let patch = ("patch_size", self.patch);
        at_most(MOST_LAYERS, &[("num_hidden_layers", self.depth), heads, patch])?;
        at_most(MOST_PIXELS, &[side])?;
        let widths = [width, ("intermediate_size", self.expanded), ("projection_dim", self.feature)];
        at_most(MOST_WIDTH, &widths)?;
        divides(width, heads)?;
        divides(side, patch)?;
        match stated.hidden_act.as_deref() {
            Some(other) if kind == ScorerKind::Clip && other != "quick_gelu" => {
                Err(format!("hidden_act {other:?} is not supported, only quick_gelu"))
            }
            _ => Ok(()),
        }
    }

    /// The number of tokens: patches and the class token.
    pub(super) fn tokens(&self) -> usize {
        let side = self.side / self.patch;
        side * side + 1
    }

    /// About the most bytes of intermediate tensors of one picture, in float32.
    pub(super) fn activations(&self) -> u64 {
        const STATES: usize = 8;
        let tokens = self.tokens();
        let row = STATES * self.width + 2 * self.expanded + 2 * self.heads * tokens;
        let pixels = 2 * 3 * self.side * self.side;
        4 * (tokens * row + pixels) as u64
    }

    /// The name of the architecture: that of the published one if it is that.
    pub(super) fn name(&self, kind: ScorerKind) -> String {
        if *self == Self::published(kind) {
            return kind.folder().into();
        }
        let family = kind.folder().split('-').next().unwrap_or_default();
        format!("{family}-{}x{}-p{}", self.width, self.depth, self.patch)
    }
}

/// The sizes of CLIP's text half in these files.
///
/// # Errors
/// [`Error::ModelFile`] if there is a configuration and it is faulty.
pub(super) fn text(files: &ModelFiles) -> Result<ClipConfig, Error> {
    let mut sizes = ClipConfig {
        vocab_size: 49408,
        hidden_size: 512,
        intermediate_size: 2048,
        max_position_embeddings: 77,
        num_hidden_layers: 12,
        num_attention_heads: 8,
        hidden_act: "quick_gelu".into(),
        eos_token_id: 2,
    };
    let path = format!("{}/{CONFIGURATION}", ScorerKind::Clip.folder());
    if !files.contains(&path) {
        return Ok(sizes);
    }
    let Some(stated) = files.read_json::<Stated>(&path)?.text_config else { return Ok(sizes) };
    let number = |name: &str, published: usize| {
        stated.get(name).and_then(serde_json::Value::as_u64).map_or(published, |value| value as usize)
    };
    sizes.vocab_size = number("vocab_size", sizes.vocab_size);
    sizes.hidden_size = number("hidden_size", sizes.hidden_size);
    sizes.intermediate_size = number("intermediate_size", sizes.intermediate_size);
    sizes.max_position_embeddings = number("max_position_embeddings", sizes.max_position_embeddings);
    sizes.num_hidden_layers = number("num_hidden_layers", sizes.num_hidden_layers);
    sizes.num_attention_heads = number("num_attention_heads", sizes.num_attention_heads);
    sizes.eos_token_id = number("eos_token_id", 2).try_into().unwrap_or(u32::MAX);
    if let Some(activation) = stated.get("hidden_act").and_then(serde_json::Value::as_str) {
        sizes.hidden_act = activation.into();
    }
    sizes.check().map_err(|reason| missing(&path, format!("text_config: {reason}")))?;
    Ok(sizes)
}

/// The tensors of CLIP: both halves with their projections, under Hugging Face's names.
pub(super) fn clip(sizes: &Sizes, text: &ClipConfig) -> Vec<Expected> {
    let Sizes { width, expanded, depth, patch, feature, .. } = *sizes;
    let mut all = expected::clip(text);
    let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
    add("text_projection.weight".into(), &[feature, text.hidden_size]);
    add("visual_projection.weight".into(), &[feature, width]);
    add("vision_model.embeddings.class_embedding".into(), &[width]);
    add("vision_model.embeddings.patch_embedding.weight".into(), &[width, 3, patch, patch]);
    add("vision_model.embeddings.position_embedding.weight".into(), &[sizes.tokens(), width]);
    for norm in ["pre_layrnorm", "post_layernorm"] {
        for part in ["weight", "bias"] {
            add(format!("vision_model.{norm}.{part}"), &[width]);
        }
    }
    for layer in 0..depth {
        let at = format!("vision_model.encoder.layers.{layer}");
        for (name, output, input) in [
            ("self_attn.q_proj", width, width),
            ("self_attn.k_proj", width, width),
            ("self_attn.v_proj", width, width),
            ("self_attn.out_proj", width, width),
            ("mlp.fc1", expanded, width),
            ("mlp.fc2", width, expanded),
        ] {
            add(format!("{at}.{name}.weight"), &[output, input]);
            add(format!("{at}.{name}.bias"), &[output]);
        }
        for norm in ["layer_norm1", "layer_norm2"] {
            for part in ["weight", "bias"] {
                add(format!("{at}.{norm}.{part}"), &[width]);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_any_scorer_are_refused_by_name() {
        let sizes = |change: fn(&mut Sizes)| {
            let mut sizes = Sizes::published(ScorerKind::Clip);
            change(&mut sizes);
            sizes.check(&Stated::default(), ScorerKind::Clip).unwrap_err()
        };
        Sizes::published(ScorerKind::Clip).check(&Stated::default(), ScorerKind::Clip).unwrap();
        assert_eq!(sizes(|sizes| sizes.side = 1 << 20), "image_size 1048576 is not within 1 to 4096");
        assert_eq!(sizes(|sizes| sizes.depth = 0), "num_hidden_layers 0 is not within 1 to 1024");
        assert!(sizes(|sizes| sizes.expanded = usize::MAX).starts_with("intermediate_size "));
        assert_eq!(
            sizes(|sizes| sizes.heads = 7),
            "hidden_size 768 is not a multiple of num_attention_heads 7"
        );
        assert_eq!(sizes(|sizes| sizes.patch = 15), "image_size 224 is not a multiple of patch_size 15");
    }
}
