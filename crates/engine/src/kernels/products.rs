//! The calls of cuBLASLt for linear layers. Every function gives None for shapes, strides and types that it has none
//! for.

use candle_core::{D, DType, Tensor};

use super::gemm::{Gemm, Layouts, Operands};
use super::{Call, Work};

/// Addresses and rows lie at multiples of this many bytes: the kernels of tensor cores read so much at once.
pub(super) const ALIGNMENT: usize = 16;

/// A part of a layer's input, with the columns of the weights that belong to it.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// (.., in), rows side by side or with a stride.
    pub x: &'a Tensor,
    /// (out, in), whose rows may be parts of longer ones.
    pub weight: &'a Tensor,
}

/// Numbers in e4m3, and what they have to be multiplied by.
#[derive(Debug, Clone, Copy)]
pub struct Scales<'a> {
    /// The weights' scale.
    pub weight: f32,
    /// The input's scale, in float32, on the device.
    pub x: &'a Tensor,
}

/// `x W^T + bias`, then GELU if asked for: (.., out), in the type of `x`.
pub fn linear(part: Part<'_>, bias: Option<&Tensor>, gelu: bool) -> Option<Work> {
    let dtype = part.x.dtype();
    let gemm = Gemm { gelu, ..product(part, Operands::of(dtype)?)? };
    work(vec![with_bias(gemm, bias, dtype)?], part.x, dtype)
}

/// The sum of the products of several parts, plus a bias: (.., out), in their type. Each but the first adds to what is
/// there, which is rounded in between.
pub fn linear_of_parts(parts: &[Part<'_>], bias: Option<&Tensor>) -> Option<Work> {
    let first = parts.first()?;
    let dtype = first.x.dtype();
    let gemms = parts.iter().map(|part| product(*part, Operands::of(dtype)?));
    work(added(gemms.collect::<Option<_>>()?, bias, dtype)?, first.x, dtype)
}

/// As [`linear`] for codes of e4m3, with the result in `dtype`.
pub fn linear_fp8(
    part: Part<'_>,
    scales: Scales<'_>,
    bias: Option<&Tensor>,
    gelu: bool,
    dtype: DType,
) -> Option<Work> {
    let gemm = Gemm { gelu, ..scaled(part, scales, dtype)? };
    work(vec![with_bias(gemm, bias, dtype)?], part.x, dtype)
}

/// `x W^T` of integers of one byte: (.., out), as integers of 32 bits.
pub fn linear_int8(part: Part<'_>) -> Option<Work> {
    work(vec![product(part, Operands::Int8)?], part.x, DType::I32)
}

/// As [`linear_of_parts`] for codes of e4m3, each part with its own scales.
pub fn linear_of_fp8_parts(
    parts: &[(Part<'_>, Scales<'_>)],
    bias: Option<&Tensor>,
    dtype: DType,
) -> Option<Work> {
    let (first, _) = parts.first()?;
    let gemms = parts.iter().map(|(part, scales)| scaled(*part, *scales, dtype));
    work(added(gemms.collect::<Option<_>>()?, bias, dtype)?, first.x, dtype)
}

fn scaled(part: Part<'_>, scales: Scales<'_>, dtype: DType) -> Option<Gemm> {
    Operands::of(dtype)?;
    let one = scales.x.dtype() == DType::F32 && scales.x.elem_count() >= 1 && scales.x.is_contiguous();
    let gemm = product(part, Operands::E4m3)?;
    one.then(|| Gemm { factor: scales.weight, scale: Some(scales.x.clone()), ..gemm })
}

/// The product alone.
fn product(Part { x, weight }: Part<'_>, operands: Operands) -> Option<Gemm> {
    let dtype = match operands {
        Operands::Bf16 => DType::BF16,
        Operands::F16 => DType::F16,
        Operands::E4m3 | Operands::Int8 => DType::U8,
    };
    let (out, into) = weight.dims2().ok()?;
    let (tokens, width, x_stride) = rows_of(x)?;
    let (_, _, weight_stride) = rows_of(weight)?;
    let size = dtype.size_in_bytes();
    let aligned = [x, weight].iter().all(|matrix| {
        let start = matrix.layout().start_offset() * size;
        matrix.dtype() == dtype && start.is_multiple_of(ALIGNMENT)
    });
    // The output's rows of 16-bit numbers, too. Eight-bit kernels want sides of 16.
    let sides = [into * size, out * size.max(1), x_stride * size, weight_stride * size];
    let fits = width == into && tokens > 0 && out > 0 && into > 0;
    let whole = sides.iter().all(|side| side.is_multiple_of(ALIGNMENT));
    (fits && aligned && whole).then(|| Gemm {
        layouts: Layouts::of(tokens, (out, into), x_stride, weight_stride),
        operands,
        weight: weight.clone(),
        x: x.clone(),
        factor: 1.0,
        scale: None,
        bias: None,
        adds: false,
        gelu: false,
    })
}

/// The first product has the bias, and every other adds to the sum so far.
fn added(mut gemms: Vec<Gemm>, bias: Option<&Tensor>, dtype: DType) -> Option<Vec<Gemm>> {
    let (first, others) = gemms.split_first_mut()?;
    let same = |gemm: &Gemm| gemm.layouts.d == first.layouts.d;
    if !others.iter().all(same) {
        return None;
    }
    others.iter_mut().for_each(|gemm| gemm.adds = true);
    *first = with_bias(first.clone(), bias, dtype)?;
    Some(gemms)
}

fn with_bias(gemm: Gemm, bias: Option<&Tensor>, dtype: DType) -> Option<Gemm> {
    let Some(bias) = bias else { return Some(gemm) };
    let start = bias.layout().start_offset() * dtype.size_in_bytes();
    let fits = bias.dims() == [gemm.layouts.d.rows] && bias.dtype() == dtype && bias.is_contiguous();
    (fits && start.is_multiple_of(ALIGNMENT)).then(|| Gemm { bias: Some(bias.clone()), ..gemm })
}

fn work(gemms: Vec<Gemm>, x: &Tensor, dtype: DType) -> Option<Work> {
    let mut shape = x.dims().to_vec();
    *shape.last_mut()? = gemms.first()?.layouts.d.rows;
    let calls = gemms.into_iter().map(|gemm| Call::Product(Box::new(gemm))).collect();
    matches!(dtype, DType::BF16 | DType::F16 | DType::I32).then_some(Work { shape, dtype, calls })
}

/// How many rows a tensor has, their width, and the numbers from one to the next. None if they are not evenly spaced.
fn rows_of(x: &Tensor) -> Option<(usize, usize, usize)> {
    let (dims, strides) = (x.dims(), x.stride());
    let (width, rest) = dims.split_last()?;
    if x.dim(D::Minus1).ok()? == 0 || *strides.last()? != 1 {
        return None;
    }
    // All dimensions before the last one count as one.
    let (mut rows, mut stride) = (1, *width);
    for (dim, step) in rest.iter().zip(strides).rev().filter(|(dim, _)| **dim != 1) {
        match rows {
            1 => stride = *step,
            _ if *step == rows * stride => {}
            _ => return None,
        }
        rows *= dim;
    }
    (stride >= *width).then_some((rows, *width, stride))
}
