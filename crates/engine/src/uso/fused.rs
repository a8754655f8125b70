//! The operations between the matrix products of a step and of the autoencoder: one function each, so that a device can
//! compute it in one pass. For one sample at a time (batch 1).
//!
//! Each begins with a kernel of ours where the device has one, and goes on with candle's operations, which are the
//! reference that kernels are compared with.

use candle_core::{D, DType, IndexOp, Result, Tensor};
use candle_nn::{Activation, LayerNorm, Module as _};

use super::positions::Rotary;
use crate::cpu::attention::Attention;
use crate::cpu::group::Frame;
use crate::cpu::{are_here, tensors as here};
use crate::kernels::{Kernel, calls, on_device};

/// Epsilon of every norm in FLUX.
pub(super) const EPSILON: f32 = 1e-6;

/// Most bytes of one slice of attention scores. Rows are independent, so slicing does not change values. All scores of
/// 24 heads and 6,000 tokens would take 3.4 GB in float32.
pub(crate) const SCORE_BYTES: usize = 256 << 20;

/// Layer norm of each row of `x` (.., hidden) with the given weight and bias, both (hidden). A modulated norm is one
/// with `1 + scale` as its weight and `shift` as its bias.
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(super) fn modulated_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if are_here([x, weight, bias]) {
        return here::layer_norm(x, weight, bias, EPSILON);
    }
    let x = &x.contiguous()?;
    let work = || calls::modulated_norm(x, weight, bias, EPSILON);
    if let Some(normed) = on_device(x, Kernel::ModulatedNorm, work)? {
        return Ok(normed);
    }
    candle_nn::ops::layer_norm(x, weight, bias, EPSILON)
}

/// Layer norm of each row of `x` (.., width) by a layer of its own epsilon.
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(crate) fn layer_norm(x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    match norm.bias() {
        Some(bias) if are_here([x, norm.weight(), bias]) => {
            here::layer_norm(x, norm.weight(), bias, norm.eps() as f32)
        }
        _ => norm.forward(&x.contiguous()?),
    }
}

/// An activation. Nobody else may hold `x`.
///
/// # Errors
/// If the device fails.
pub(crate) fn activate(x: Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::GeluPytorchTanh | Activation::NewGelu => gelu(x),
        other => other.forward(&x),
    }
}

/// `x + gate * y`, where `x` and `y` are (.., hidden) and `gate` is (hidden).
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(super) fn gated_add(x: &Tensor, gate: &Tensor, y: &Tensor) -> Result<Tensor> {
    if are_here([x, gate, y]) {
        return here::gated_add(x, gate, y);
    }
    if let Some(sum) = on_device(x, Kernel::GatedAdd, || calls::gated_add(x, gate, y))? {
        return Ok(sum);
    }
    x + y.broadcast_mul(gate)?
}

/// GELU in its tanh form. Nobody else may hold `x`.
///
/// # Errors
/// If the device fails.
pub(super) fn gelu(x: Tensor) -> Result<Tensor> {
    if are_here([&x]) { here::gelu(x) } else { x.gelu() }
}

/// `gelu(x) * factor`. Nobody else may hold `x`.
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(super) fn gelu_times(x: Tensor, factor: &Tensor) -> Result<Tensor> {
    if are_here([&x, factor]) { here::gelu_times(x, factor) } else { x.gelu()? * factor }
}

/// The projection that a stream's attention starts from.
pub(super) struct Projected<'a> {
    /// (1, tokens, 3 * hidden): queries, keys, values, each head by head.
    pub(super) qkv: Tensor,
    /// Weights of the RMS norms of queries and of keys, (head_dim) each.
    pub(super) query_scale: &'a Tensor,
    pub(super) key_scale: &'a Tensor,
}

/// Queries and keys, normed and rotated, and values of all tokens: each (1, heads, tokens, head_dim).
pub(super) struct Qkv {
    pub(super) query: Tensor,
    pub(super) key: Tensor,
    pub(super) value: Tensor,
}

/// Splits the projections of streams, norms the queries and keys of each, joins the streams' tokens in their order, and
/// rotates queries and keys by their positions.
///
/// # Errors
/// If there is no stream, a shape does not fit or the device fails.
pub(super) fn split_norm_rotate(streams: Vec<Projected<'_>>, heads: usize, rotary: &Rotary) -> Result<Qkv> {
    if streams.iter().all(|stream| are_here([&stream.qkv, stream.query_scale, stream.key_scale])) {
        let parts: Vec<_> =
            streams.iter().map(|stream| (&stream.qkv, stream.query_scale, stream.key_scale)).collect();
        let tables = [&rotary.cos, &rotary.sin];
        let [query, key, value] = here::split_norm_rotate(&parts, heads, tables, EPSILON)?;
        return Ok(Qkv { query, key, value });
    }
    if let Some(qkv) = split_by_kernel(&streams, heads, rotary)? {
        return Ok(qkv);
    }
    let split = streams.into_iter().map(|stream| stream.split(heads)).collect::<Result<Vec<_>>>()?;
    let join = |part: fn(&Qkv) -> &Tensor| match split.as_slice() {
        [alone] => Ok(part(alone).clone()),
        several => Tensor::cat(&several.iter().map(part).collect::<Vec<_>>(), 2),
    };
    let (query, key, value) = (join(|qkv| &qkv.query)?, join(|qkv| &qkv.key)?, join(|qkv| &qkv.value)?);
    Ok(Qkv { query: rotary.rotate(&query)?, key: rotary.rotate(&key)?, value })
}

/// None if the device has no kernel for it.
fn split_by_kernel(streams: &[Projected<'_>], heads: usize, rotary: &Rotary) -> Result<Option<Qkv>> {
    let Some(near) = streams.first() else { return Ok(None) };
    let work = || {
        let parts = streams.iter().map(|stream| [&stream.qkv, stream.query_scale, stream.key_scale]);
        calls::split_norm_rotate(&parts.collect::<Vec<_>>(), heads, [&rotary.cos, &rotary.sin], EPSILON)
    };
    let Some(all) = on_device(&near.qkv, Kernel::SplitNormRotate, work)? else { return Ok(None) };
    let part = |i| all.narrow(0, i, 1);
    Ok(Some(Qkv { query: part(0)?, key: part(1)?, value: part(2)? }))
}

impl Projected<'_> {
    /// The three parts, normed but not rotated.
    fn split(self, heads: usize) -> Result<Qkv> {
        let (batch, tokens, width) = self.qkv.dims3()?;
        let qkv = self.qkv.reshape((batch, tokens, 3, heads, width / 3 / heads))?;
        let part = |i: usize| qkv.i((.., .., i))?.transpose(1, 2)?.contiguous();
        Ok(Qkv {
            query: candle_nn::ops::rms_norm(&part(0)?, self.query_scale, EPSILON)?,
            key: candle_nn::ops::rms_norm(&part(1)?, self.key_scale, EPSILON)?,
            value: part(2)?,
        })
    }
}

/// Attention between all tokens: (1, tokens, hidden).
///
/// # Errors
/// If the device fails.
pub(super) fn attend(qkv: &Qkv) -> Result<Tensor> {
    let Qkv { query, key, value } = qkv;
    if let Some(attended) = on_device(query, Kernel::Attend, || calls::attend(query, key, value))? {
        return Ok(attended);
    }
    attend_between(query, key, value)
}

/// [`attention`] with the heads of a token beside one another: (1, tokens, heads * head_dim).
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(crate) fn attend_between(query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
    let scale = 1.0 / (query.dim(D::Minus1)? as f32).sqrt();
    let here = Attention { query, key, value, scale, bias: None };
    if here.is_here() {
        return here.attend();
    }
    let [query, key, value] = [query, key, value].map(Tensor::contiguous);
    attention(&query?, &key?, &value?)?.transpose(1, 2)?.flatten_from(D::Minus2)
}

/// As [`attend_between`] without a scale, with a bias (1, heads, keys, queries) that is added to the scores.
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(super) fn attend_with_bias(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    let here = Attention { query, key, value, scale: 1.0, bias: Some(bias) };
    if here.is_here() {
        return here.attend();
    }
    let [query, key, value] = [query, key, value].map(Tensor::contiguous);
    let scores = query?.matmul(&key?.t()?)?.broadcast_add(&bias.t()?)?;
    let attended = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&value?)?;
    attended.transpose(1, 2)?.flatten_from(D::Minus2)
}

/// Softmax attention without a mask, in slices of queries whose scores fit [`SCORE_BYTES`].
/// All three are (1, heads, tokens, head_dim).
///
/// Scores and softmax are in float32 in every precision: bfloat16 has a step of 0.25 at scores of 32 to 64. Candle's
/// product has the type of its operands, so in a lower precision this costs a copy of the keys in float32 and a product
/// at float32 speed. Probabilities are rounded once, for the product with the values.
///
/// # Errors
/// If a shape does not fit or the device fails.
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

/// Mean and variance of each row and group of channels of `rows` (rows, channels, columns): both (rows, groups).
///
/// # Errors
/// If the channels do not make `groups`, or the device fails.
pub(super) fn group_moments(rows: &Tensor, groups: usize) -> Result<(Tensor, Tensor)> {
    if are_here([rows]) {
        return here::group_moments(rows, groups);
    }
    if let Some(moments) = on_device(rows, Kernel::GroupMoments, || calls::group_moments(rows, groups))? {
        return Ok((moments.get(0)?, moments.get(1)?));
    }
    let (count, channels, columns) = rows.dims3()?;
    let values = rows.reshape((count, groups, channels / groups * columns))?;
    let means = values.mean_keepdim(2)?;
    let mut squares = values.broadcast_sub(&means)?;
    squares = squares.sqr()?;
    Ok((means.squeeze(2)?, squares.mean(2)?))
}

/// A group norm of known moments, as a factor and an offset for each channel of `rows` (rows, channels, columns), both
/// (1, channels, 1); then SiLU if `activate`.
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(super) fn group_norm(
    mut rows: Tensor,
    factors: &Tensor,
    offsets: &Tensor,
    activate: bool,
) -> Result<Tensor> {
    if are_here([&rows, factors, offsets]) {
        return here::group_norm(&rows, [factors, offsets], activate, Frame::default());
    }
    let work = || calls::group_norm(&rows, factors, offsets, activate);
    if let Some(normed) = on_device(&rows, Kernel::GroupNorm, work)? {
        return Ok(normed);
    }
    rows = rows.broadcast_mul(factors)?;
    rows = rows.broadcast_add(offsets)?;
    if activate { rows.silu() } else { Ok(rows) }
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
