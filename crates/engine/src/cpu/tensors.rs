//! The same for tensors whose numbers are in host memory in float32; see [`super::are_here`].

use candle_core::{D, Device, Result, Tensor, bail};

use super::convolution::{Added, Seen, Taps};
use super::group::{self, Frame};
use super::numbers;
use super::product::{Shape, Start, View, linear as multiply};
use super::split::{Heads, Stream, split};
use super::{activation, norm};

fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

/// Layer norm of the last dimension, with a weight and a bias.
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Result<Tensor> {
    let x = x.contiguous()?;
    check_last(&x, [weight, bias])?;
    let [values, weight, bias] = [&x, weight, bias].map(numbers);
    tensor(norm::layer_norm(values.in_order()?, weight.in_order()?, bias.in_order()?, epsilon), &x)
}

/// Norm of the last dimension by its root mean square, with a weight.
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let x = x.contiguous()?;
    check_last(&x, [weight])?;
    let [values, weight] = [&x, weight].map(numbers);
    tensor(norm::rms_norm(values.in_order()?, weight.in_order()?, epsilon), &x)
}

/// `x + gate * y` with a gate for the last dimension.
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn gated_add(x: &Tensor, gate: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (x, y) = (x.contiguous()?, y.contiguous()?);
    check_last(&x, [gate])?;
    if x.dims() != y.dims() {
        bail!("{x:?} and {y:?} cannot be added");
    }
    let [values, gate, added] = [&x, gate, &y].map(numbers);
    tensor(norm::gated_add(values.in_order()?, gate.in_order()?, added.in_order()?), &x)
}

fn check_last<const N: usize>(x: &Tensor, weights: [&Tensor; N]) -> Result<()> {
    let width = x.dim(D::Minus1)?;
    match weights.into_iter().find(|weight| weight.dims() != [width]) {
        Some(weight) => bail!("a weight of shape {:?} does not fit {:?}", weight.dims(), x.dims()),
        None => Ok(()),
    }
}

/// GELU in its tanh form. Nobody else may hold `x`.
///
/// # Errors
/// If its numbers are elsewhere.
pub(crate) fn gelu(x: Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    activation::gelu(&x)?;
    Ok(x)
}

/// `gelu(x) * factor`. Nobody else may hold `x`.
///
/// # Errors
/// If its numbers are elsewhere, or a shape does not fit.
pub(crate) fn gelu_times(x: Tensor, factor: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    activation::gelu_times(&x, &factor.contiguous()?)?;
    Ok(x)
}

/// `x` (tokens, in), whose numbers of a token lie beside one another, times the transpose of `weight` (out, in), plus
/// `bias` (out).
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut out = vec![0f32; x.dim(0)? * weight.dim(0)?];
    let bias = bias.map(numbers);
    let start = match &bias {
        Some(bias) => Start::Bias(bias.in_order()?),
        None => Start::Nothing,
    };
    add_product(x, weight, &mut out, start)?;
    Tensor::from_vec(out, (x.dim(0)?, weight.dim(0)?), &Device::Cpu)
}

/// The same for an `x` whose columns are in several parts, so that they need not be put beside one another.
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn linear_of_parts(parts: &[Tensor], weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let tokens = parts.first().map_or(Ok(0), |part| part.dim(0))?;
    let mut out = vec![0f32; tokens * weight.dim(0)?];
    let bias = bias.map(numbers);
    let mut start = match &bias {
        Some(bias) => Start::Bias(bias.in_order()?),
        None => Start::Nothing,
    };
    let mut first = 0;
    for part in parts {
        let width = part.dim(1)?;
        if part.dim(0)? != tokens {
            bail!("parts of {tokens} and {} tokens", part.dim(0)?);
        }
        add_product(part, &weight.narrow(1, first, width)?, &mut out, start)?;
        (first, start) = (first + width, Start::Old);
    }
    if first != weight.dim(1)? {
        bail!("{first} columns for a matrix {:?}", weight.dims());
    }
    Tensor::from_vec(out, (tokens, weight.dim(0)?), &Device::Cpu)
}

fn add_product(x: &Tensor, weight: &Tensor, out: &mut [f32], start: Start<'_>) -> Result<()> {
    if x.dim(1)? != weight.dim(1)? {
        bail!("{:?} and {:?} cannot be multiplied", x.dims(), weight.dims());
    }
    let [xs, weights] = [x, weight].map(numbers);
    let shape = |tensor: &Tensor| {
        let (rows, columns) = tensor.dims2()?;
        let [row_step, column_step] = *tensor.stride() else { bail!("{tensor:?} is no matrix") };
        Ok(Shape { rows, columns, row_step, column_step })
    };
    let (x, weight) = (View::new(xs.onwards()?, shape(x)?), View::new(weights.onwards()?, shape(weight)?));
    multiply(x, weight, out, start);
    Ok(())
}

/// `y + bias` with a bias for the last dimension. Nobody else may hold `y`.
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn add_bias(y: Tensor, bias: &Tensor) -> Result<Tensor> {
    check_last(&y, [bias])?;
    let y = y.contiguous()?;
    let bias = numbers(bias);
    let bias = bias.in_order()?;
    super::change(&y, |values| norm::add_bias(values, bias))?;
    Ok(y)
}

/// Queries, keys and values of several streams' tokens, see [`split`]: (1, heads, tokens, width) each.
/// A stream: projection (1, tokens, 3 * hidden), scales of queries and of keys (width).
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn split_norm_rotate(
    streams: &[(&Tensor, &Tensor, &Tensor)],
    heads: usize,
    [cos, sin]: [&Tensor; 2],
    epsilon: f32,
) -> Result<[Tensor; 3]> {
    let all: Vec<_> =
        streams.iter().map(|(projected, query, key)| [*projected, *query, *key].map(numbers)).collect();
    let mut parts = Vec::with_capacity(streams.len());
    let (mut tokens, mut hidden) = (0, 0);
    for ((projected, ..), [values, query, key]) in streams.iter().zip(&all) {
        let (_, count, wide) = projected.dims3()?;
        let [_, step, 1] = *values.steps() else { bail!("the numbers of a token lie apart") };
        (tokens, hidden) = (tokens + count, wide / 3);
        parts.push(Stream {
            projected: values.onwards()?,
            step,
            tokens: count,
            query_scale: query.in_order()?,
            key_scale: key.in_order()?,
        });
    }
    let width = hidden / heads.max(1);
    if cos.dims() != [tokens, width / 2] || sin.dims() != cos.dims() {
        bail!("rotary tables {:?} for {tokens} tokens of {heads} heads of {width}", cos.dims());
    }
    if let Some((_, query, key)) = streams.iter().find(|(x, q, k)| {
        x.dim(D::Minus1).ok() != Some(3 * hidden) || q.dims() != [width] || k.dims() != [width]
    }) {
        bail!("scales {:?} and {:?} for {heads} heads of {width}", query.dims(), key.dims());
    }
    let [cos, sin] = [cos, sin].map(numbers);
    let sizes = Heads { heads, width, cos: cos.in_order()?, sin: sin.in_order()?, epsilon };
    let shape = (1, heads, tokens, width);
    let [query, key, value] = split(&parts, &sizes).map(|part| Tensor::from_vec(part, shape, &Device::Cpu));
    Ok([query?, key?, value?])
}

/// Mean and variance of each row and group of channels of a map (rows, channels, columns): both (rows, groups).
///
/// # Errors
/// If the channels do not make `groups`.
pub(crate) fn group_moments(map: &Tensor, groups: usize) -> Result<(Tensor, Tensor)> {
    let (rows, channels, columns) = map.dims3()?;
    if !channels.is_multiple_of(groups) {
        bail!("{channels} channels do not make {groups} groups");
    }
    let map = map.contiguous()?;
    let (means, variances) = group::moments(numbers(&map).in_order()?, channels / groups * columns);
    let table = |values| Tensor::from_vec(values, (rows, groups), &Device::Cpu);
    Ok((table(means)?, table(variances)?))
}

/// Group norm of a map (rows, channels, columns) by factors and offsets (1, channels, 1), then SiLU if `activate`,
/// within a frame.
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn group_norm(
    map: &Tensor,
    [factors, offsets]: [&Tensor; 2],
    activate: bool,
    frame: Frame,
) -> Result<Tensor> {
    let (rows, channels, columns) = map.dims3()?;
    if [factors, offsets].iter().any(|x| x.dims() != [1, channels, 1]) {
        bail!("factors {:?} for {channels} channels", factors.dims());
    }
    let map = map.contiguous()?;
    let [values, factors, offsets] = [&map, factors, offsets].map(numbers);
    let (factors, offsets) = (factors.in_order()?, offsets.in_order()?);
    let framed = group::norm(values.in_order()?, columns, (factors, offsets), activate, frame);
    framed_tensor(framed, (rows, channels, columns), frame)
}

/// A map (rows, channels, columns) within a frame.
///
/// # Errors
/// If its numbers are elsewhere.
pub(crate) fn framed(map: &Tensor, frame: Frame) -> Result<Tensor> {
    let (rows, channels, columns) = map.dims3()?;
    let map = map.contiguous()?;
    let framed = frame.put(
        numbers(&map).in_order()?,
        columns,
        &vec![(); channels],
        #[inline(always)]
        |x, ()| x,
    );
    framed_tensor(framed, (rows, channels, columns), frame)
}

fn framed_tensor(
    values: Vec<f32>,
    (rows, channels, columns): (usize, usize, usize),
    frame: Frame,
) -> Result<Tensor> {
    let Frame { above, below, left, right } = frame;
    Tensor::from_vec(values, (above + rows + below, channels, left + columns + right), &Device::Cpu)
}

/// The taps of a kernel (output, input, rows, columns).
///
/// # Errors
/// If its numbers are elsewhere.
pub(crate) fn taps(kernel: &Tensor) -> Result<Taps> {
    let (output, input, rows, columns) = kernel.dims4()?;
    let tap = |y, x| kernel.narrow(2, y, 1)?.narrow(3, x, 1)?.flatten_all()?.to_vec1();
    let row = |y| (0..columns).map(|x| tap(y, x)).collect::<Result<_>>();
    Ok(Taps { taps: (0..rows).map(row).collect::<Result<_>>()?, input, output })
}

/// A convolution of a map within its frame, see [`Taps::slide`], with a bias (1, output, 1), added to `more`:
/// (rows, output, columns).
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn slide(
    taps: &Taps,
    framed: &Tensor,
    (rows, columns): (usize, usize),
    stride: usize,
    bias: &Tensor,
    more: Option<&Tensor>,
) -> Result<Tensor> {
    let shape = (rows, taps.output, columns);
    let more = more.map(Tensor::contiguous).transpose()?;
    if let Some(more) = &more
        && more.dims3()? != shape
    {
        bail!("{:?} cannot be added to {shape:?}", more.dims());
    }
    let height = taps.taps.len();
    check_framed(framed, taps.input, [(rows, height), (columns, height)], stride)?;
    let [values, bias] = [framed, bias].map(numbers);
    let more = more.as_ref().map(numbers);
    let seen = Seen { values: values.in_order()?, columns: framed.dim(2)?, stride };
    let map = more.as_ref().map(|more| more.in_order()).transpose()?;
    let added = Added { bias: bias.in_order()?, map };
    Tensor::from_vec(taps.slide(seen, rows, columns, added), shape, &Device::Cpu)
}

/// A convolution of a doubled map, see [`Taps::double`]: (2 * rows, output, 2 * columns).
///
/// # Errors
/// If a shape does not fit.
pub(crate) fn double(
    corners: &[Taps; 4],
    framed: &Tensor,
    (rows, columns): (usize, usize),
    bias: &Tensor,
) -> Result<Tensor> {
    check_framed(framed, corners[0].input, [(rows, 3), (columns, 3)], 1)?;
    let [values, bias] = [framed, bias].map(numbers);
    let seen = Seen { values: values.in_order()?, columns: framed.dim(2)?, stride: 1 };
    let doubled = Taps::double(corners, seen, rows, columns, Added { bias: bias.in_order()?, map: None });
    Tensor::from_vec(doubled, (2 * rows, corners[0].output, 2 * columns), &Device::Cpu)
}

/// Refuses a map that is smaller than what a kernel reads for so many numbers in each direction.
fn check_framed(framed: &Tensor, input: usize, sides: [(usize, usize); 2], stride: usize) -> Result<()> {
    let (rows, channels, columns) = framed.dims3()?;
    let needed = sides.map(|(count, kernel)| count.saturating_sub(1) * stride + kernel);
    if channels != input || rows < needed[0] || columns < needed[1] {
        bail!("a map {:?} is too small for {needed:?} with {input} channels", framed.dims());
    }
    Ok(())
}
