//! The kernels' calls that round a product's input to eight bits. Every function gives None where no kernel fits.

use candle_core::{DType, Tensor};

use super::calls::{blocks, integer, is_plain};
use super::{Argument, Call, Launch, Work, suffix};

/// Threads of a block.
const THREADS: usize = 256;

/// Blocks that read a tensor to find its largest number: enough for all multiprocessors of a card.
const PARTS: usize = 512;

/// Numbers that a thread rounds.
const AT_ONCE: usize = 4;

/// The scale that makes the largest size of `x` 448, the largest of e4m3. It is the first of several numbers in
/// float32. 1 if it would be no normal number, NaN if `x` has one.
pub fn fp8_scale(x: &Tensor) -> Option<Work> {
    let count = fours(x)?;
    let launch = |kernel: String, grid: usize, arguments| {
        let grid = [blocks(grid)?, 1];
        Some(Call::Kernel(Launch { kernel, grid, threads: THREADS as u32, shared_bytes: 0, arguments }))
    };
    let largest = vec![Argument::Input(x.clone()), Argument::Output, integer(count)?];
    let calls = vec![
        launch(format!("largest_{}", suffix(x.dtype())?), PARTS, largest)?,
        launch("fp8_scale_f32".into(), 1, vec![Argument::Output, integer(PARTS)?])?,
    ];
    Some(Work { shape: vec![1 + PARTS], dtype: DType::F32, calls })
}

/// The codes in e4m3 of `x` divided by the first number of `scale`, in the shape of `x`.
pub fn round_fp8(x: &Tensor, scale: &Tensor) -> Option<Work> {
    let count = fours(x)?;
    let call = Launch {
        kernel: format!("round_fp8_{}", suffix(x.dtype())?),
        grid: [blocks((count / AT_ONCE).div_ceil(THREADS))?, 1],
        threads: THREADS as u32,
        shared_bytes: 0,
        arguments: vec![
            Argument::Input(x.clone()),
            Argument::Input(scale.clone()),
            Argument::Output,
            integer(count)?,
        ],
    };
    let fits = is_plain(scale, DType::F32);
    fits.then(|| Work { shape: x.dims().to_vec(), dtype: DType::U8, calls: vec![Call::Kernel(call)] })
}

/// The scale of each row of `x` (.., size) that makes its largest size 127, the largest of int8 used: (rows), in float32.
/// 1 for a row whose scale would be no normal number, NaN if the row has one.
pub fn row_scales(x: &Tensor) -> Option<Work> {
    let (rows, size) = row_of_fours(x)?;
    let call = Launch {
        kernel: format!("row_scales_{}", suffix(x.dtype())?),
        grid: [blocks(rows)?, 1],
        threads: THREADS as u32,
        shared_bytes: 0,
        arguments: vec![Argument::Input(x.clone()), Argument::Output, integer(size)?],
    };
    Some(Work { shape: vec![rows], dtype: DType::F32, calls: vec![Call::Kernel(call)] })
}

/// `x` divided by its rows' scales and rounded to integers: one byte each, negative ones as two's complement.
pub fn round_int8(x: &Tensor, scales: &Tensor) -> Option<Work> {
    let (rows, size) = row_of_fours(x)?;
    let call = Launch {
        kernel: format!("round_int8_{}", suffix(x.dtype())?),
        grid: [blocks(rows)?, blocks((size / AT_ONCE).div_ceil(THREADS))?],
        threads: THREADS as u32,
        shared_bytes: 0,
        arguments: vec![
            Argument::Input(x.clone()),
            Argument::Input(scales.clone()),
            Argument::Output,
            integer(size)?,
        ],
    };
    let fits = scales.dims() == [rows] && is_plain(scales, DType::F32);
    fits.then(|| Work { shape: x.dims().to_vec(), dtype: DType::U8, calls: vec![Call::Kernel(call)] })
}

/// What a product of integers is multiplied by, and what is added.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a> {
    /// Scales of the sums' rows, in float32.
    pub rows: &'a Tensor,
    /// Scales of their columns, in float32.
    pub columns: &'a Tensor,
    /// One number for each column, or one for each sum: in the type of the result.
    pub added: &'a Tensor,
}

/// `sums * rows * columns + added` for sums (.., size) of integers, then GELU if asked for, in `dtype`.
pub fn scale_sums(sums: &Tensor, factors: Factors<'_>, gelu: bool, dtype: DType) -> Option<Work> {
    let Factors { rows: row_scales, columns, added } = factors;
    let size = *sums.dims().last()?;
    let rows = sums.elem_count().checked_div(size)?;
    let step = if added.dims() == [size] { 0 } else { size };
    let fits = is_plain(sums, DType::I32)
        && size.is_multiple_of(2)
        && added.layout().start_offset().is_multiple_of(2)
        && row_scales.dims() == [rows]
        && columns.dims() == [size]
        && (step == 0 || added.elem_count() == sums.elem_count())
        && is_plain(added, dtype)
        && [row_scales, columns].iter().all(|scales| is_plain(scales, DType::F32));
    let call = Launch {
        kernel: format!("scale_sums_{}", suffix(dtype)?),
        grid: [blocks(rows)?, blocks((size / 2).div_ceil(THREADS))?],
        threads: THREADS as u32,
        shared_bytes: 0,
        arguments: vec![
            Argument::Input(sums.clone()),
            Argument::Input(row_scales.clone()),
            Argument::Input(columns.clone()),
            Argument::Input(added.clone()),
            Argument::Output,
            integer(size)?,
            integer(step)?,
            Argument::Integer(i32::from(gelu)),
        ],
    };
    fits.then(|| Work { shape: sums.dims().to_vec(), dtype, calls: vec![Call::Kernel(call)] })
}

/// Rows and their size, if they can be read four numbers at a time.
fn row_of_fours(x: &Tensor) -> Option<(usize, usize)> {
    let (size, count) = (*x.dims().last()?, fours(x)?);
    size.is_multiple_of(AT_ONCE).then_some((count / size, size))
}

/// How many numbers a tensor has, if they lie side by side and can be read four at a time.
fn fours(x: &Tensor) -> Option<usize> {
    let (count, start) = (x.elem_count(), x.layout().start_offset());
    (x.is_contiguous() && count > 0 && count.is_multiple_of(AT_ONCE) && start.is_multiple_of(2))
        .then_some(count)
}
