//! The parts of FLUX blocks, for one sample at a time (batch 1).

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};

use super::builder::Builder;
use super::positions::Rotary;
use super::side_branches::SideBranches;
use crate::matrix::Linear;

/// Epsilon of every norm in FLUX.
const EPSILON: f32 = 1e-6;

/// Most bytes of one slice of attention scores. Rows are independent, so slicing does not change values. All scores of
/// 24 heads and 6,000 tokens would take 3.4 GB in float32.
pub(crate) const SCORE_BYTES: usize = 256 << 20;

/// Receives named intermediate tensors of a forward pass. The names are those of the reference's modules.
pub type Probe<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// Layer norm with the given weight and bias.
pub(super) fn norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    candle_nn::ops::layer_norm(&x.contiguous()?, weight, bias, EPSILON)
}

/// RMS norm of queries and keys, per head.
pub(super) struct QkNorm {
    query: Tensor,
    key: Tensor,
}

impl QkNorm {
    pub(super) fn new(head_dim: usize, builder: &Builder) -> Result<Self> {
        let scale = |name| builder.tensor(&[head_dim], name);
        Ok(Self { query: scale("query_norm.scale")?, key: scale("key_norm.scale")? })
    }

    pub(super) fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { query: self.query.to_device(device)?, key: self.key.to_device(device)? })
    }

    /// Splits (1, tokens, 3 * hidden) into normed queries, normed keys and values, each
    /// (1, heads, tokens, head_dim).
    pub(super) fn split(&self, qkv: &Tensor, heads: usize) -> Result<Qkv> {
        let (batch, tokens, width) = qkv.dims3()?;
        let qkv = qkv.reshape((batch, tokens, 3, heads, width / 3 / heads))?;
        let part = |i: usize| qkv.i((.., .., i))?.transpose(1, 2)?.contiguous();
        Ok(Qkv {
            query: candle_nn::ops::rms_norm(&part(0)?, &self.query, EPSILON)?,
            key: candle_nn::ops::rms_norm(&part(1)?, &self.key, EPSILON)?,
            value: part(2)?,
        })
    }
}

/// Queries, keys and values, each (1, heads, tokens, head_dim).
pub(super) struct Qkv {
    query: Tensor,
    key: Tensor,
    value: Tensor,
}

impl Qkv {
    /// The tokens of `self`, then those of `other`.
    pub(super) fn join(&self, other: &Self) -> Result<Self> {
        let cat = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 2);
        Ok(Self {
            query: cat(&self.query, &other.query)?,
            key: cat(&self.key, &other.key)?,
            value: cat(&self.value, &other.value)?,
        })
    }

    /// Rotary attention over all tokens: (1, tokens, hidden).
    pub(super) fn attend(&self, rotary: &Rotary) -> Result<Tensor> {
        let attended = attention(&rotary.rotate(&self.query)?, &rotary.rotate(&self.key)?, &self.value)?;
        attended.transpose(1, 2)?.flatten_from(D::Minus2)
    }
}

/// Softmax attention without a mask, in slices of queries whose scores fit [`SCORE_BYTES`].
/// All three are (1, heads, tokens, head_dim).
///
/// Scores and softmax are in float32 in every precision: bfloat16 has a step of 0.25 at scores of 32 to 64. Candle's
/// product has the type of its operands, so in a lower precision this costs a copy of the keys in float32 and a product
/// at float32 speed, until a fused kernel exists. Probabilities are rounded once, for the product with the values.
pub(crate) fn attention(query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
    let (_, heads, tokens, head_dim) = query.dims4()?;
    let key = key.to_dtype(DType::F32)?.t()?;
    let row_bytes = heads * key.dim(D::Minus1)? * DType::F32.size_in_bytes();
    let rows = (SCORE_BYTES / row_bytes.max(1)).clamp(1, tokens);
    let slices = (0..tokens)
        .step_by(rows)
        .map(|start| {
            let query = query.narrow(2, start, rows.min(tokens - start))?.to_dtype(DType::F32)?;
            let query = (query * (1.0 / (head_dim as f64).sqrt()))?;
            probabilities(&query, &key)?.to_dtype(value.dtype())?.matmul(value)
        })
        .collect::<Result<Vec<_>>>()?;
    if let [whole] = slices.as_slice() { Ok(whole.clone()) } else { Tensor::cat(&slices, 2) }
}

/// The scores are dropped here, which makes room for the product with the values.
fn probabilities(query: &Tensor, transposed_key: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax_last_dim(&query.matmul(transposed_key)?)
}

/// Linear, GELU (tanh form), linear: the feed-forward part of a double block.
pub(super) struct FeedForward {
    expand: Linear,
    contract: Linear,
}

impl FeedForward {
    pub(super) fn new(hidden: usize, expanded: usize, builder: &Builder) -> Result<Self> {
        Ok(Self {
            expand: builder.pp(0).linear(hidden, expanded, true)?,
            contract: builder.pp(2).linear(expanded, hidden, true)?,
        })
    }

    pub(super) fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { expand: self.expand.to_device(device)?, contract: self.contract.to_device(device)? })
    }

    pub(super) fn linears(&self) -> [&Linear; 2] {
        [&self.expand, &self.contract]
    }

    pub(super) fn forward(&self, x: &Tensor, branches: &SideBranches) -> Result<Tensor> {
        branches.forward(&self.contract, &branches.forward(&self.expand, x)?.gelu()?)
    }
}

/// Attention layers of one stream of a double block.
pub(super) struct StreamAttention {
    qkv: Linear,
    norm: QkNorm,
    pub(super) proj: Linear,
    heads: usize,
}

impl StreamAttention {
    pub(super) fn new(hidden: usize, heads: usize, bias: bool, builder: &Builder) -> Result<Self> {
        Ok(Self {
            qkv: builder.pp("qkv").linear(hidden, 3 * hidden, bias)?,
            norm: QkNorm::new(hidden / heads, &builder.pp("norm"))?,
            proj: builder.pp("proj").linear(hidden, hidden, true)?,
            heads,
        })
    }

    pub(super) fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            qkv: self.qkv.to_device(device)?,
            norm: self.norm.to_device(device)?,
            proj: self.proj.to_device(device)?,
            ..*self
        })
    }

    pub(super) fn linears(&self) -> [&Linear; 2] {
        [&self.qkv, &self.proj]
    }

    pub(super) fn project(&self, x: &Tensor, branches: &SideBranches) -> Result<Qkv> {
        self.norm.split(&branches.forward(&self.qkv, x)?, self.heads)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn scores_are_not_rounded_to_a_lower_precision() {
        const TOKENS: usize = 8;
        let tensor = |rows: usize, value: fn(usize, usize) -> f32| {
            let values = (0..rows).flat_map(|row| (0..TOKENS).map(move |column| value(row, column)));
            Tensor::from_iter(values, &Device::Cpu).unwrap().reshape((1, 1, rows, TOKENS)).unwrap()
        };
        // Scores from 39.6 up in steps of 0.04, six of which are one step of bfloat16. With these values the result is
        // the probabilities themselves.
        let query = tensor(1, |_, _| 8.0);
        let key = tensor(TOKENS, |row, column| if column == 0 { row as f32 / 64.0 } else { 2.0 });
        let value = tensor(TOKENS, |row, column| if row == column { 1.0 } else { 0.0 });
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let [query, key, value] = [&query, &key, &value].map(|x| x.to_dtype(dtype).unwrap());
            let attended = attention(&query, &key, &value).unwrap();
            assert_eq!(attended.dtype(), dtype);
            let attended = attended.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>();
            let attended = attended.unwrap();
            assert!(attended.is_sorted_by(|a, b| a < b), "{dtype:?}: {attended:?}");
        }
    }
}
