//! The style projector: turns SigLIP hidden states into tokens of the transformer (`SigLIPMultiFeatProjModel` of the
//! reference).

use candle_core::{Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, VarBuilder, layer_norm, linear};

use super::siglip::HiddenStates;
use crate::config::ProjectorConfig;

/// Default epsilon of torch's layer norm.
const EPSILON: f64 = 1e-5;

/// One projection for each of the three hidden states.
pub struct StyleProjector {
    high: Projection,
    mid: Projection,
    low: Projection,
}

impl StyleProjector {
    /// Builds the projector from a builder at `feature_embedder`.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn new(config: &ProjectorConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            high: Projection::new(config, &vb, "high")?,
            mid: Projection::new(config, &vb, "mid")?,
            low: Projection::new(config, &vb, "low")?,
        })
    }

    /// The style tokens of one image: (1, 3 * style tokens, hidden), high before mid before low.
    ///
    /// # Errors
    /// If the states have another shape than the configuration's.
    pub fn forward(&self, states: &HiddenStates) -> Result<Tensor> {
        let tokens = [
            self.high.forward(&states.high)?,
            self.mid.forward(&states.mid)?,
            self.low.forward(&states.low)?,
        ];
        Tensor::cat(&tokens, 1)
    }
}

struct Projection {
    /// Mixes tokens rather than channels.
    mix: Linear,
    norm: Option<LayerNorm>,
    project: Linear,
}

impl Projection {
    fn new(config: &ProjectorConfig, vb: &VarBuilder, level: &str) -> Result<Self> {
        let part = |name: &str| vb.pp(format!("{level}_{name}"));
        let norm = config
            .context_layer_norm
            .then(|| layer_norm(config.siglip_token_dims, EPSILON, part("layer_norm")));
        Ok(Self {
            mix: linear(config.siglip_token_nums, config.style_token_nums, part("embedding_linear.0"))?,
            norm: norm.transpose()?,
            project: linear(config.siglip_token_dims, config.hidden_size, part("projection"))?,
        })
    }

    fn forward(&self, state: &Tensor) -> Result<Tensor> {
        let dtype = self.mix.weight().dtype();
        let mixed = self.mix.forward(&state.to_dtype(dtype)?.transpose(1, 2)?.contiguous()?)?;
        let mixed = mixed.silu()?.transpose(1, 2)?.contiguous()?;
        let mixed = match &self.norm {
            Some(norm) => norm.forward(&mixed)?,
            None => mixed,
        };
        self.project.forward(&mixed)
    }
}
