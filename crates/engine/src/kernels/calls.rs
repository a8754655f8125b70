//! The kernels' calls for operations on tensors. Every function gives None where no kernel fits: another type or size,
//! a layout that it does not read, or numbers beyond its range.

use std::f64::consts::LOG2_E;

use candle_core::{DType, Tensor};

use super::{Argument, Call, Kernel, Launch, Work};

/// Threads of most blocks.
const THREADS: u32 = 256;

/// Values of a head that attention has a kernel for.
pub const HEAD: usize = 128;

/// Most values of a head that [`split_norm_rotate`] has a kernel for.
const LARGEST_HEAD: usize = 256;

/// Most blocks along y.
const MOST_BLOCKS: usize = 65_535;

/// Softmax attention of queries, keys and values, each (1, heads, tokens, 128): (1, tokens, heads * 128).
pub fn attend(query: &Tensor, key: &Tensor, value: &Tensor) -> Option<Work> {
    /// Bytes that one copy reads: inputs lie at multiples of it.
    const ALIGNMENT: usize = 16;
    let &[1, heads, tokens, HEAD] = query.dims() else { return None };
    let dtype = query.dtype();
    for input in [query, key, value] {
        let start = input.layout().start_offset() * dtype.size_in_bytes();
        let fits = input.dims() == query.dims() && input.dtype() == dtype && input.is_contiguous();
        if !fits || !start.is_multiple_of(ALIGNMENT) {
            return None;
        }
    }
    // Two stages of a tile of keys and one of values; or queries, a tile and its scores, padded.
    let (queries, shared_bytes) = match dtype {
        DType::F32 => (64, 4 * (64 * HEAD + 64 * (HEAD + 1) + 64 * 65)),
        _ => (128, 2 * 2 * 64 * HEAD * 2),
    };
    let scale = LOG2_E / (HEAD as f64).sqrt();
    let call = Launch {
        kernel: Kernel::Attend.name(dtype)?,
        grid: [blocks(tokens.div_ceil(queries))?, blocks(heads).filter(|_| heads <= MOST_BLOCKS)?],
        threads: THREADS,
        shared_bytes: shared_bytes as u32,
        arguments: vec![
            Argument::Input(query.clone()),
            Argument::Input(key.clone()),
            Argument::Input(value.clone()),
            Argument::Output,
            integer(heads)?,
            integer(tokens)?,
            Argument::Float(scale as f32),
        ],
    };
    Some(Work { shape: vec![1, tokens, heads * HEAD], dtype, calls: vec![Call::Kernel(call)] })
}

/// Splits the projections of streams, each with the scales of its queries' and keys' norms; norms, joins and rotates
/// them. A projection is (1, tokens, 3 * heads * size), and its rows may be part of longer ones; scales are (size), the
/// cosines and sines of all tokens (tokens, size / 2). Gives (3, heads, tokens, size).
pub fn split_norm_rotate(
    streams: &[[&Tensor; 3]],
    heads: usize,
    [cosines, sines]: [&Tensor; 2],
    epsilon: f32,
) -> Option<Work> {
    let (all, half) = cosines.dims2().ok()?;
    let size = 2 * half;
    let dtype = streams.first()?[0].dtype();
    let kernel = Kernel::SplitNormRotate.name(dtype)?;
    let tables_fit =
        [cosines, sines].iter().all(|table| table.dims() == [all, half] && is_plain(table, DType::F32));
    if size > LARGEST_HEAD || !tables_fit {
        return None;
    }
    let (mut calls, mut first) = (Vec::new(), 0);
    for [qkv, query_scale, key_scale] in streams {
        let (&[1, tokens, width], &[_, stride, 1]) = (qkv.dims(), qkv.stride()) else { return None };
        let scales_fit =
            [query_scale, key_scale].iter().all(|scale| scale.dims() == [size] && are_pairs(scale, dtype));
        let even = [qkv.layout().start_offset(), stride].iter().all(|number| number.is_multiple_of(2));
        if width != 3 * heads * size || qkv.dtype() != dtype || !scales_fit || !even {
            return None;
        }
        let warps = THREADS as usize / 32;
        let mut arguments: Vec<_> = [qkv, query_scale, key_scale, &cosines, &sines]
            .map(|input| Argument::Input((*input).clone()))
            .into();
        arguments.push(Argument::Output);
        for number in [tokens, stride, heads, size, first, all] {
            arguments.push(integer(number)?);
        }
        arguments.push(Argument::Float(epsilon));
        calls.push(Call::Kernel(Launch {
            kernel: kernel.clone(),
            grid: [blocks((tokens * heads).div_ceil(warps))?, 3],
            threads: THREADS,
            shared_bytes: 0,
            arguments,
        }));
        first += tokens;
    }
    (first == all).then_some(Work { shape: vec![3, heads, all, size], dtype, calls })
}

/// Layer norm of each row of `x` (.., size) with a weight and a bias (size).
pub fn modulated_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Option<Work> {
    let (rows, size) = rows_of(x)?;
    let dtype = x.dtype();
    let fits = [weight, bias].iter().all(|vector| vector.dims() == [size] && are_pairs(vector, dtype));
    let call = Launch {
        kernel: Kernel::ModulatedNorm.name(dtype)?,
        grid: [blocks(rows)?, 1],
        threads: THREADS,
        shared_bytes: 0,
        arguments: vec![
            Argument::Input(x.clone()),
            Argument::Input(weight.clone()),
            Argument::Input(bias.clone()),
            Argument::Output,
            integer(size)?,
            Argument::Float(epsilon),
        ],
    };
    (fits && are_pairs(x, dtype)).then(|| Work {
        shape: x.dims().to_vec(),
        dtype,
        calls: vec![Call::Kernel(call)],
    })
}

/// `x + gate * y` for `x` and `y` (.., size) and a gate (size).
pub fn gated_add(x: &Tensor, gate: &Tensor, y: &Tensor) -> Option<Work> {
    let (rows, size) = rows_of(x)?;
    let dtype = x.dtype();
    let fits = y.dims() == x.dims() && gate.dims() == [size];
    let call = Launch {
        kernel: Kernel::GatedAdd.name(dtype)?,
        grid: [blocks(rows)?, blocks(size.div_ceil(2 * THREADS as usize))?],
        threads: THREADS,
        shared_bytes: 0,
        arguments: vec![
            Argument::Input(x.clone()),
            Argument::Input(gate.clone()),
            Argument::Input(y.clone()),
            Argument::Output,
            integer(size)?,
        ],
    };
    let pairs = [x, gate, y].iter().all(|input| are_pairs(input, dtype));
    (fits && pairs).then(|| Work { shape: x.dims().to_vec(), dtype, calls: vec![Call::Kernel(call)] })
}

/// Mean and variance of each row and group of `rows` (rows, channels, columns): (2, rows, groups).
pub fn group_moments(rows: &Tensor, groups: usize) -> Option<Work> {
    let (count, channels, columns) = rows.dims3().ok()?;
    if !is_plain(rows, DType::F32) || !channels.is_multiple_of(groups) {
        return None;
    }
    let call = Launch {
        kernel: Kernel::GroupMoments.name(rows.dtype())?,
        grid: [blocks(count * groups)?, 1],
        threads: THREADS,
        shared_bytes: 0,
        arguments: vec![
            Argument::Input(rows.clone()),
            Argument::Output,
            integer(channels / groups * columns)?,
        ],
    };
    Some(Work { shape: vec![2, count, groups], dtype: rows.dtype(), calls: vec![Call::Kernel(call)] })
}

/// `rows * factors + offsets` for `rows` (rows, channels, columns) and a factor and an offset for each channel, both
/// (1, channels, 1); then SiLU if `activate`.
pub fn group_norm(rows: &Tensor, factors: &Tensor, offsets: &Tensor, activate: bool) -> Option<Work> {
    let (count, channels, columns) = rows.dims3().ok()?;
    let fits = [factors, offsets].iter().all(|x| x.elem_count() == channels && is_plain(x, DType::F32));
    if !fits || !is_plain(rows, DType::F32) {
        return None;
    }
    let call = Launch {
        kernel: Kernel::GroupNorm.name(rows.dtype())?,
        grid: [blocks(count * channels)?, 1],
        threads: 128,
        shared_bytes: 0,
        arguments: vec![
            Argument::Input(rows.clone()),
            Argument::Input(factors.clone()),
            Argument::Input(offsets.clone()),
            Argument::Output,
            integer(channels)?,
            integer(columns)?,
            Argument::Integer(i32::from(activate)),
        ],
    };
    Some(Work { shape: rows.dims().to_vec(), dtype: rows.dtype(), calls: vec![Call::Kernel(call)] })
}

/// Rows and their size.
fn rows_of(x: &Tensor) -> Option<(usize, usize)> {
    let size = *x.dims().last()?;
    Some((x.elem_count().checked_div(size)?, size))
}

/// Whether the values lie side by side.
pub(super) fn is_plain(x: &Tensor, dtype: DType) -> bool {
    x.dtype() == dtype && x.is_contiguous()
}

/// Whether rows can be read two values at a time.
fn are_pairs(x: &Tensor, dtype: DType) -> bool {
    let size = x.dims().last().copied().unwrap_or(1);
    is_plain(x, dtype) && size.is_multiple_of(2) && x.layout().start_offset().is_multiple_of(2)
}

/// A number of blocks along x; a grid of none cannot be launched.
pub(super) fn blocks(count: usize) -> Option<u32> {
    i32::try_from(count).ok().filter(|count| *count > 0).map(i32::cast_unsigned)
}

pub(super) fn integer(number: usize) -> Option<Argument> {
    i32::try_from(number).ok().map(Argument::Integer)
}
