//! CLIP: features of pictures and texts in one space (Radford et al., arXiv 2103.00020).

use candle_core::{Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear_no_bias};
use candle_transformers::models::clip::text_model::Activation;
use candle_transformers::models::clip::vision_model::{ClipVisionConfig, ClipVisionTransformer};

use super::kind::ScorerKind;
use super::sizes::{self, Sizes};
use crate::files::missing;
use crate::tokenize::{ClipTokenizer, TokenCount};
use crate::uso::clip::Clip as Text;
use crate::weights::Weights;
use crate::{ClipConfig, Error, ModelFiles};

/// Both halves of CLIP with their projections.
pub(super) struct Clip {
    vision: ClipVisionTransformer,
    text: Text,
    visual_projection: Linear,
    text_projection: Linear,
    tokenizer: ClipTokenizer,
    length: usize,
}

impl Clip {
    /// Loads both halves from checked weights, and the tokenizer.
    ///
    /// # Errors
    /// [`Error::Weights`] for a tensor that cannot be read; [`Error::ModelFile`] for a tokenizer with more tokens than
    /// the model.
    pub(super) fn load(
        files: &ModelFiles,
        weights: &Weights,
        sizes: &Sizes,
        device: &Device,
    ) -> std::result::Result<Self, Error> {
        let folder = ScorerKind::Clip.folder();
        let text = &sizes::text(files)?;
        let tokenizer = ClipTokenizer::load(files, folder)?;
        if tokenizer.largest_id() as usize >= text.vocab_size {
            let reason = format!(
                "the tokenizer has id {}, the model only {} tokens",
                tokenizer.largest_id(),
                text.vocab_size
            );
            return Err(missing(folder, reason));
        }
        let vb = weights.builder(candle_core::DType::F32, device);
        Self::new(&vb, sizes, text, tokenizer).map_err(|error| weights.fault(&error))
    }

    fn new(vb: &VarBuilder, sizes: &Sizes, text: &ClipConfig, tokenizer: ClipTokenizer) -> Result<Self> {
        let vision = ClipVisionConfig {
            embed_dim: sizes.width,
            activation: Activation::QuickGelu,
            intermediate_size: sizes.expanded,
            num_hidden_layers: sizes.depth,
            num_attention_heads: sizes.heads,
            projection_dim: sizes.feature,
            num_channels: 3,
            image_size: sizes.side,
            patch_size: sizes.patch,
        };
        Ok(Self {
            vision: ClipVisionTransformer::new(vb.pp("vision_model"), &vision)?,
            text: Text::new(text, vb.clone())?,
            visual_projection: linear_no_bias(sizes.width, sizes.feature, vb.pp("visual_projection"))?,
            text_projection: linear_no_bias(text.hidden_size, sizes.feature, vb.pp("text_projection"))?,
            tokenizer,
            length: text.max_position_embeddings,
        })
    }

    /// The feature of prepared pixels of shape (1, 3, side, side): (1, feature).
    ///
    /// # Errors
    /// If the shape is another, or the device fails.
    pub(super) fn picture(&self, pixels: &Tensor) -> Result<Tensor> {
        self.visual_projection.forward(&self.vision.forward(pixels)?)
    }

    /// The feature of a text: (1, feature); and how many of its tokens were cut.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it cannot be encoded; [`Error::Device`] if the device fails.
    pub(super) fn text(&self, text: &str) -> std::result::Result<(Tensor, TokenCount), Error> {
        let encoded = self.tokenizer.encode(text, self.length)?;
        let feature = self.text_projection.forward(&self.text.encode(&encoded.ids)?)?;
        Ok((feature, encoded.count))
    }
}
