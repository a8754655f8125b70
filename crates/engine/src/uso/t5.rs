//! The T5 encoder (Raffel et al., arXiv 1910.10683; version 1.1 with gated GELU): states for the transformer's text
//! stream. There is no attention mask: as in the reference, padding takes part in attention.

use candle_core::{D, DType, Device, Result, Tensor};

use super::blocks::{Blocks, Layer, Source};
use super::builder::Builder;
use super::fused::{attend_with_bias, gelu_times};
use crate::config::T5Config;
use crate::cpu::{are_here, tensors as here};
use crate::matrix::Linear;
use crate::placement;
use crate::replace::{HasTensors, Replace};
use crate::weights::Table;

const EMBEDDING: &str = "shared.weight";

/// The encoder's weights.
pub struct T5 {
    /// In host memory, because a prompt needs few of its rows.
    embedding: Table,
    /// A bias per head for each range of distances: (ranges, heads).
    distances: Tensor,
    pub(super) blocks: Blocks<Block>,
    norm: RmsNorm,
    config: T5Config,
    dtype: DType,
    device: Device,
}

impl T5 {
    /// Builds the encoder from weights under Hugging Face's names. `blocks` says where its blocks are kept.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub(super) fn new(source: &Source<T5Config>, blocks: placement::Blocks) -> Result<Self> {
        let (config, weights) = (&source.config, &source.weights);
        let builder = Builder::new(weights, &source.changes, &source.place);
        let encoder = builder.pp("encoder");
        let names: Vec<_> = (0..config.num_layers).map(|i| format!("encoder.block.{i}.layer")).collect();
        let biases = [config.relative_attention_num_buckets, config.num_heads];
        Ok(Self {
            embedding: Table::read(weights.located(EMBEDDING)?)?,
            distances: encoder
                .tensor(&biases, "block.0.layer.0.SelfAttention.relative_attention_bias.weight")?,
            blocks: match blocks {
                placement::Blocks::Resident => source.resident(&names)?,
                placement::Blocks::Streamed => source.streamed(&names)?,
            },
            norm: RmsNorm::new(config, &encoder.pp("final_layer_norm"))?,
            config: config.clone(),
            dtype: builder.dtype(),
            device: builder.device().clone(),
        })
    }

    /// States of padded token ids: (1, tokens, width).
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the device fails.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        let rows = self.embedding.rows(ids, self.dtype)?;
        let mut states = rows.to_device(&self.device)?.unsqueeze(0)?;
        let bias = self.position_bias(ids.len())?.to_dtype(states.dtype())?;
        self.blocks.each(|_, block| {
            states = block.forward(&states, &bias)?;
            Ok(())
        })?;
        self.norm.forward(&states)
    }

    /// What is added to the scores of each head: (1, heads, keys, queries).
    fn position_bias(&self, tokens: usize) -> Result<Tensor> {
        let ranges: Vec<u32> = (0..tokens)
            .flat_map(|key| (0..tokens).map(move |query| key as i64 - query as i64))
            .map(|distance| range_of(distance, &self.config))
            .collect();
        let ranges = Tensor::from_vec(ranges, tokens * tokens, &self.device)?;
        let biases = self.distances.index_select(&ranges, 0)?.reshape((tokens, tokens, ()))?;
        biases.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()
    }
}

/// The range of a distance from query to key (`_relative_position_bucket` of the reference's encoder). Half of the
/// ranges are for keys that come later; of each half, the first half are single distances, the others grow with the
/// logarithm.
fn range_of(distance: i64, config: &T5Config) -> u32 {
    let half = config.relative_attention_num_buckets as u32 / 2;
    let exact = (half / 2).max(1);
    let later = if distance > 0 { half } else { 0 };
    let far = distance.unsigned_abs().min(u64::from(u32::MAX)) as u32;
    if far < exact {
        return later + far;
    }
    let growth = (config.relative_attention_max_distance as f32 / exact as f32).ln();
    let beyond = (far as f32 / exact as f32).ln() / growth * half.saturating_sub(exact) as f32;
    later + (exact + beyond as u32).min(half.saturating_sub(1))
}

/// Attention and a gated feed-forward layer, each after a norm and added to its input.
pub(super) struct Block {
    norm1: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: RmsNorm,
    gate: Linear,
    expand: Linear,
    contract: Linear,
    heads: usize,
}

impl Layer for Block {
    type Config = T5Config;

    fn new(config: &T5Config, builder: &Builder) -> Result<Self> {
        let (width, inner) = (config.d_model, config.num_heads * config.d_kv);
        let (attention, dense) = (builder.pp("0.SelfAttention"), builder.pp("1.DenseReluDense"));
        Ok(Self {
            norm1: RmsNorm::new(config, &builder.pp("0.layer_norm"))?,
            query: attention.pp("q").linear(width, inner, false)?,
            key: attention.pp("k").linear(width, inner, false)?,
            value: attention.pp("v").linear(width, inner, false)?,
            out: attention.pp("o").linear(inner, width, false)?,
            norm2: RmsNorm::new(config, &builder.pp("1.layer_norm"))?,
            gate: dense.pp("wi_0").linear(width, config.d_ff, false)?,
            expand: dense.pp("wi_1").linear(width, config.d_ff, false)?,
            contract: dense.pp("wo").linear(config.d_ff, width, false)?,
            heads: config.num_heads,
        })
    }

    fn linears(&self) -> Vec<&Linear> {
        vec![&self.query, &self.key, &self.value, &self.out, &self.gate, &self.expand, &self.contract]
    }
}

impl HasTensors for Block {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self {
            norm1: self.norm1.replaced(by)?,
            query: self.query.replaced(by)?,
            key: self.key.replaced(by)?,
            value: self.value.replaced(by)?,
            out: self.out.replaced(by)?,
            norm2: self.norm2.replaced(by)?,
            gate: self.gate.replaced(by)?,
            expand: self.expand.replaced(by)?,
            contract: self.contract.replaced(by)?,
            heads: self.heads,
        })
    }
}

impl Block {
    fn forward(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let x = (x + self.attend(&self.norm1.forward(x)?, bias)?)?;
        let normed = self.norm2.forward(&x)?;
        let gated = gelu_times(self.gate.forward(&normed)?, &self.expand.forward(&normed)?)?;
        x + self.contract.forward(&gated)?
    }

    /// T5 does not scale its scores: that is part of its trained weights.
    fn attend(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let heads = |projected: Tensor| projected.reshape((batch, tokens, self.heads, ()))?.transpose(1, 2);
        let (query, key) = (heads(self.query.forward(x)?)?, heads(self.key.forward(x)?)?);
        self.out.forward(&attend_with_bias(&query, &key, &heads(self.value.forward(x)?)?, bias)?)
    }
}

/// A norm without mean and bias, in float32.
struct RmsNorm {
    weight: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    fn new(config: &T5Config, builder: &Builder) -> Result<Self> {
        Ok(Self { weight: builder.tensor(&[config.d_model], "weight")?, epsilon: config.layer_norm_epsilon })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if are_here([x, &self.weight]) {
            return here::rms_norm(x, &self.weight, self.epsilon as f32);
        }
        let wide = x.to_dtype(DType::F32)?;
        let variance = wide.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = wide.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?;
        normed.to_dtype(x.dtype())?.broadcast_mul(&self.weight)
    }
}

impl HasTensors for RmsNorm {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { weight: by.tensor(&self.weight)?, epsilon: self.epsilon })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_fall_into_the_ranges_of_the_reference() {
        let config = T5Config {
            vocab_size: 1,
            d_model: 1,
            d_kv: 1,
            d_ff: 1,
            num_layers: 1,
            num_heads: 1,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "gated-gelu".into(),
        };
        // `T5Attention._relative_position_bucket` of transformers, bidirectional.
        for (distance, range) in [
            (0, 0),
            (-1, 1),
            (-7, 7),
            (-8, 8),
            (-15, 9),
            (-16, 10),
            (-31, 11),
            (-64, 14),
            (-127, 15),
            (-511, 15),
            (1, 17),
            (7, 23),
            (8, 24),
            (16, 26),
            (127, 31),
            (511, 31),
        ] {
            assert_eq!(range_of(distance, &config), range, "distance {distance}");
        }
    }
}
