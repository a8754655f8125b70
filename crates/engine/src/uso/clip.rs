//! The text half of CLIP: the pooled vector of a prompt. There is no attention mask besides the causal one: as in the
//! reference, padding takes part in attention.

use candle_core::{Device, IndexOp, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::text_model;

use crate::config::ClipConfig;

/// The text half of CLIP.
pub struct Clip {
    model: text_model::ClipTextTransformer,
    end_id: Option<u32>,
    device: Device,
}

impl Clip {
    /// Builds the text encoder from weights under Hugging Face's names.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn new(config: &ClipConfig, vb: VarBuilder) -> Result<Self> {
        let model = text_model::ClipTextTransformer::new(vb.pp("text_model"), &sizes(config))?;
        Ok(Self { model, end_id: config.end_id(), device: vb.device().clone() })
    }

    /// The pooled vector of padded token ids: (1, width), after the final norm, not projected.
    ///
    /// # Errors
    /// If there are more ids than positions, an id is outside the vocabulary, or the device fails.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        let tokens = Tensor::from_slice(ids, (1, ids.len()), &self.device)?;
        let states = self.model.forward_with_mask(&tokens, usize::MAX)?;
        states.i((.., self.pooled_at(ids)))
    }

    fn pooled_at(&self, ids: &[u32]) -> usize {
        let end = self.end_id.or_else(|| ids.iter().copied().max());
        ids.iter().position(|id| Some(*id) == end).unwrap_or(0)
    }
}

fn sizes(config: &ClipConfig) -> text_model::ClipTextConfig {
    text_model::ClipTextConfig {
        vocab_size: config.vocab_size,
        embed_dim: config.hidden_size,
        activation: text_model::Activation::QuickGelu,
        intermediate_size: config.intermediate_size,
        max_position_embeddings: config.max_position_embeddings,
        pad_with: None,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        projection_dim: config.hidden_size,
    }
}
