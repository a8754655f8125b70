//! The pieces that FLUX blocks are made of, for one sample at a time (batch 1).

use candle_core::{D, DType, IndexOp, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear, linear_b};

use super::positions::Rotary;

/// Epsilon of every norm in FLUX.
const EPSILON: f32 = 1e-6;

/// Upper bound of one slice of attention scores in bytes. Rows are independent, so a slice changes
/// no value; whole, the scores of 24 heads and 6,000 tokens would take 3.4 GB in float32.
pub(super) const SCORE_BYTES: usize = 256 << 20;

/// Scale, shift and gate that a block draws from the conditioning vector (`Modulation`).
///
/// One sample means one vector of each, so that a modulated layer norm is a plain layer norm with
/// `1 + scale` as its weight and `shift` as its bias: one fused operation.
pub(super) struct Modulated {
    shift: Tensor,
    weight: Tensor,
    gate: Tensor,
}

impl Modulated {
    pub(super) fn norm(&self, x: &Tensor) -> Result<Tensor> {
        norm(x, &self.weight, &self.shift)
    }

    /// `x + gate * y`.
    pub(super) fn gated(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x + y.broadcast_mul(&self.gate)?
    }
}

/// Layer norm whose weight and bias come from outside.
pub(super) fn norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    candle_nn::ops::layer_norm(&x.contiguous()?, weight, bias, EPSILON)
}

/// The linear layer behind one or two [`Modulated`]s.
pub(super) struct Modulation(Linear);

impl Modulation {
    pub(super) fn new(hidden: usize, count: usize, vb: VarBuilder) -> Result<Self> {
        linear(hidden, 3 * count * hidden, vb.pp("lin")).map(Self)
    }

    /// `vec`: (1, hidden), SiLU already applied.
    pub(super) fn forward(&self, vec: &Tensor) -> Result<Vec<Modulated>> {
        let hidden = vec.dim(1)?;
        let rows = self.0.forward(vec)?.reshape((self.0.weight().dim(0)? / hidden, hidden))?;
        (0..rows.dim(0)? / 3)
            .map(|i| {
                let row = |j: usize| rows.get(3 * i + j);
                Ok(Modulated { shift: row(0)?, weight: (row(1)? + 1.0)?, gate: row(2)? })
            })
            .collect()
    }
}

/// RMS norm of queries and keys, per head.
pub(super) struct QkNorm {
    query: Tensor,
    key: Tensor,
}

impl QkNorm {
    pub(super) fn new(head_dim: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self { query: vb.get(head_dim, "query_norm.scale")?, key: vb.get(head_dim, "key_norm.scale")? })
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
        let rotate = |x: &Tensor| candle_nn::rotary_emb::rope_i(x, &rotary.cos, &rotary.sin);
        let attended = attention(&rotate(&self.query)?, &rotate(&self.key)?, &self.value)?;
        attended.transpose(1, 2)?.flatten_from(D::Minus2)
    }
}

/// Softmax attention without a mask, in slices of queries whose scores fit [`SCORE_BYTES`].
/// All three are (1, heads, tokens, head_dim).
pub(super) fn attention(query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
    let (_, heads, tokens, head_dim) = query.dims4()?;
    let query = (query * (1.0 / (head_dim as f64).sqrt()))?;
    let key = key.t()?;
    let row_bytes = heads * key.dim(D::Minus1)? * query.dtype().size_in_bytes();
    let rows = (SCORE_BYTES / row_bytes.max(1)).clamp(1, tokens);
    let slices = (0..tokens)
        .step_by(rows)
        .map(|start| {
            let query = query.narrow(2, start, rows.min(tokens - start))?;
            candle_nn::ops::softmax_last_dim(&query.matmul(&key)?)?.matmul(value)
        })
        .collect::<Result<Vec<_>>>()?;
    if let [whole] = slices.as_slice() { Ok(whole.clone()) } else { Tensor::cat(&slices, 2) }
}

/// Linear, GELU (tanh form), linear: the feed-forward part of a double block.
pub(super) struct FeedForward {
    expand: Linear,
    contract: Linear,
}

impl FeedForward {
    pub(super) fn new(hidden: usize, expanded: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            expand: linear(hidden, expanded, vb.pp(0))?,
            contract: linear(expanded, hidden, vb.pp(2))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.contract.forward(&self.expand.forward(x)?.gelu()?)
    }
}

/// Linear, SiLU, linear (`MLPEmbedder`).
pub(super) struct Embedder {
    into: Linear,
    out: Linear,
}

impl Embedder {
    pub(super) fn new(input: usize, hidden: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            into: linear(input, hidden, vb.pp("in_layer"))?,
            out: linear(hidden, hidden, vb.pp("out_layer"))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.out.forward(&self.into.forward(x)?.silu()?)
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
    pub(super) fn new(hidden: usize, heads: usize, bias: bool, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            qkv: linear_b(hidden, 3 * hidden, bias, vb.pp("qkv"))?,
            norm: QkNorm::new(hidden / heads, vb.pp("norm"))?,
            proj: linear(hidden, hidden, vb.pp("proj"))?,
            heads,
        })
    }

    pub(super) fn project(&self, x: &Tensor) -> Result<Qkv> {
        self.norm.split(&self.qkv.forward(x)?, self.heads)
    }
}

/// Sinusoidal embedding of a number in 0..=1 or of a guidance strength: (1, 256), cosines first.
///
/// `timestep_embedding` of the reference with its factor of 1000; every operation is in float32 as
/// there, because an angle of thousands of radians magnifies each rounding.
pub(super) fn sinusoidal(value: f32, dtype: DType, device: &candle_core::Device) -> Result<Tensor> {
    const HALF: usize = 128;
    let scaled = 1000.0 * value;
    let angle = |i: usize| scaled * (-(10_000f64.ln() as f32) * i as f32 / HALF as f32).exp();
    let (cos, sin) = (0..HALF).map(|i| (angle(i).cos(), angle(i).sin())).collect::<(Vec<_>, Vec<_>)>();
    Tensor::from_vec([cos, sin].concat(), (1, 2 * HALF), device)?.to_dtype(dtype)
}
