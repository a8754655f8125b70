//! The SigLIP vision encoder, as far as USO reads it: three of its hidden states.

use candle_core::{Device, Result, Tensor};
use candle_nn::{Activation, Conv2d, Conv2dConfig, LayerNorm, Module, VarBuilder, conv2d, layer_norm};

use super::calls::STYLE_ENCODER;
use super::fused::{activate, attend_between, layer_norm as normed};
use crate::config::SiglipConfig;
use crate::matrix::{Linear, Matrix};

/// The three hidden states of a style image, each (1, tokens, width).
pub struct HiddenStates {
    /// State -2: what the picture shows.
    pub high: Tensor,
    /// State -11.
    pub mid: Tensor,
    /// State -20: colours and strokes.
    pub low: Tensor,
}

/// The encoder's weights without the last layer, on which no hidden state depends that USO reads.
pub struct Siglip {
    patch_embedding: Conv2d,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    config: SiglipConfig,
    device: Device,
}

impl Siglip {
    /// Builds the encoder from a builder at `vision_model`.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn new(config: &SiglipConfig, vb: VarBuilder) -> Result<Self> {
        let embeddings = vb.pp("embeddings");
        let stride = Conv2dConfig { stride: config.patch_size, ..Default::default() };
        Ok(Self {
            patch_embedding: conv2d(
                config.num_channels,
                config.hidden_size,
                config.patch_size,
                stride,
                embeddings.pp("patch_embedding"),
            )?,
            position_embedding: embeddings
                .get((config.tokens(), config.hidden_size), "position_embedding.weight")?,
            layers: (0..config.used_layers())
                .map(|i| Layer::new(config, vb.pp("encoder.layers").pp(i)))
                .collect::<Result<_>>()?,
            config: config.clone(),
            device: vb.device().clone(),
        })
    }

    /// Side of the square picture it reads, in pixels.
    pub fn image_size(&self) -> usize {
        self.config.image_size
    }

    /// Encodes normalised pixels in channel, row, column order.
    ///
    /// # Errors
    /// If there are not 3 * side * side pixels, or the device fails.
    pub fn encode(&self, pixels: &[f32]) -> Result<HiddenStates> {
        STYLE_ENCODER.add();
        let (channels, side) = (self.config.num_channels, self.config.image_size);
        let pixels = Tensor::from_slice(pixels, (1, channels, side, side), &self.device)?
            .to_dtype(self.position_embedding.dtype())?;
        let patches = self.patch_embedding.forward(&pixels)?.flatten_from(2)?.transpose(1, 2)?;
        let mut state = patches.broadcast_add(&self.position_embedding)?;
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            let next = layer.forward(&state)?;
            states.push(std::mem::replace(&mut state, next));
        }
        states.push(state);
        let all = self.config.num_hidden_layers + 1;
        let [high, mid, low] = SiglipConfig::HIDDEN_STATES.map(|from_end| states[all - from_end].clone());
        Ok(HiddenStates { high, mid, low })
    }
}

struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    expand: Linear,
    contract: Linear,
    activation: Activation,
    heads: usize,
}

impl Layer {
    fn new(config: &SiglipConfig, vb: VarBuilder) -> Result<Self> {
        let (width, expanded) = (config.hidden_size, config.intermediate_size);
        let norm = |name: &str| layer_norm(width, config.layer_norm_eps, vb.pp(name));
        let linear = |input: usize, output: usize, vb: VarBuilder| {
            Linear::new(Matrix::Dense(vb.get((output, input), "weight")?), Some(vb.get(output, "bias")?))
        };
        let projection = |name: &str| linear(width, width, vb.pp("self_attn").pp(name));
        Ok(Self {
            norm1: norm("layer_norm1")?,
            query: projection("q_proj")?,
            key: projection("k_proj")?,
            value: projection("v_proj")?,
            out: projection("out_proj")?,
            norm2: norm("layer_norm2")?,
            expand: linear(width, expanded, vb.pp("mlp.fc1"))?,
            contract: linear(expanded, width, vb.pp("mlp.fc2"))?,
            activation: config.hidden_act,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = normed(x, &self.norm1)?;
        let (batch, tokens, width) = x.dims3()?;
        let heads = |projected: Tensor| {
            projected.reshape((batch, tokens, self.heads, width / self.heads))?.transpose(1, 2)
        };
        let attended = attend_between(
            &heads(self.query.forward(&inner)?)?,
            &heads(self.key.forward(&inner)?)?,
            &heads(self.value.forward(&inner)?)?,
        )?;
        let x = (x + self.out.forward(&attended)?)?;
        let expanded = self.expand.forward(&normed(&x, &self.norm2)?)?;
        x + self.contract.forward(&activate(expanded, self.activation)?)?
    }
}
