//! Linear layers whose weights are converted for each product: in bfloat16 with sums in float32, twice as fast as
//! float32. What rounding costs is below the error of the tiers that use it.

use std::sync::OnceLock;

use candle_core::{Result, Tensor, bail};
use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use super::numbers;
use super::product::{Columns, by_columns};
use super::short_kernel::{Pair, ROWS, TOKENS, is_there, sums};
use super::vector::widest;

/// Pairs of a row that are multiplied at a time: 64 rows of them and those of the tokens stay in the cache.
const PAIRS: usize = 512;
/// Rows of the matrix that a task converts at a time.
const BAND: usize = 256;

/// Whether [`linear`] can multiply rows of this length on this processor.
pub(crate) fn is_possible(columns: usize) -> bool {
    is_there() && columns.is_multiple_of(2)
}

/// Most bytes that [`linear`] takes besides input and output.
pub(crate) fn scratch_bytes(tokens: usize, (rows, columns): (usize, usize)) -> u64 {
    let tasks = rayon::current_num_threads().min(rows.div_ceil(BAND));
    let band = tasks * BAND.min(rows) * columns * (size_of::<f32>() + size_of::<Pair>() / 2);
    (band + tokens.next_multiple_of(TOKENS) * columns * size_of::<Pair>() / 2) as u64
}

/// `x` (tokens, in) times the transpose of a weight of `rows` rows: (tokens, rows). `band(start, count)` gives `count`
/// rows of it in float32.
///
/// # Errors
/// If a shape does not fit, or a band cannot be made.
pub(crate) fn linear(
    x: &Tensor,
    rows: usize,
    band: impl Fn(usize, usize) -> Result<Tensor> + Sync,
) -> Result<Tensor> {
    let (tokens, columns) = x.dims2()?;
    let x = x.contiguous()?;
    let groups = grouped(numbers(&x).in_order()?, columns);
    let mut out = vec![0f32; tokens * rows];
    let failed = OnceLock::new();
    by_columns(&mut out, rows, BAND, tokens * rows * columns, |own| {
        let panels = band(own.first, own.width).and_then(|weight| panels(&weight, (own.width, columns)));
        match panels {
            Ok(panels) => multiply(&groups, &panels, columns / 2, tokens, own),
            Err(error) => drop(failed.set(error)),
        }
    });
    match failed.into_inner() {
        Some(error) => Err(error),
        None => Tensor::from_vec(out, (tokens, rows), x.device()),
    }
}

/// Adds the products of all tokens with the rows of a band.
fn multiply(
    groups: &[[Pair; TOKENS]],
    panels: &[Vec<[Pair; ROWS]>],
    pairs: usize,
    tokens: usize,
    out: &mut Columns<'_>,
) {
    for start in (0..pairs).step_by(PAIRS) {
        let own = start..pairs.min(start + PAIRS);
        for (group, x) in groups.chunks_exact(pairs).enumerate() {
            for (i, panel) in panels.iter().enumerate() {
                let sums = sums(&panel[own.clone()], &x[own.clone()]);
                let columns = i * ROWS..out.width.min((i + 1) * ROWS);
                for (j, sums) in sums.iter().take(tokens - group * TOKENS).enumerate() {
                    let out = out.row(group * TOKENS + j, columns.clone());
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                }
            }
        }
    }
}

/// A band of weights as tiles read them.
fn panels(weight: &Tensor, (rows, columns): (usize, usize)) -> Result<Vec<Vec<[Pair; ROWS]>>> {
    if weight.dims() != [rows, columns] {
        bail!("a band {:?} of {rows} rows of {columns}", weight.dims());
    }
    let weight = weight.contiguous()?;
    let numbers = numbers(&weight);
    Ok(numbers.in_order()?.chunks(ROWS * columns).map(|rows| panel(rows, columns)).collect())
}

/// Rounds to bfloat16, to even on a tie: the upper half of the bits.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

#[inline(always)]
fn pair(first: f32, second: f32) -> Pair {
    rounded(first) | rounded(second) << 16
}

/// Tokens in groups: for each group, for each pair, those of its tokens. The last group has zeros for missing tokens.
fn grouped(x: &[f32], columns: usize) -> Vec<[Pair; TOKENS]> {
    let pairs = columns / 2;
    let mut groups = vec![[0; TOKENS]; x.len().div_ceil(TOKENS * columns) * pairs];
    let tasks = groups.par_chunks_mut(pairs).zip(x.par_chunks(TOKENS * columns));
    tasks.for_each(|(group, x)| {
        widest(
            #[inline(always)]
            || {
                for (j, token) in x.chunks_exact(columns).enumerate() {
                    for (group, numbers) in group.iter_mut().zip(token.as_chunks::<2>().0) {
                        group[j] = pair(numbers[0], numbers[1]);
                    }
                }
            },
        );
    });
    groups
}

/// Rows as a tile reads them: for each pair, those of all rows. Missing rows are zeros.
fn panel(rows: &[f32], columns: usize) -> Vec<[Pair; ROWS]> {
    let mut panel = vec![[0; ROWS]; columns / 2];
    widest(
        #[inline(always)]
        || {
            // A few pairs of all rows at a time, so that what is written stays in the cache.
            for (at, part) in panel.chunks_mut(16).enumerate() {
                for (i, row) in rows.chunks_exact(columns).enumerate() {
                    let numbers = &row.as_chunks::<2>().0[at * 16..];
                    for (pairs, numbers) in part.iter_mut().zip(numbers) {
                        pairs[i] = pair(numbers[0], numbers[1]);
                    }
                }
            }
        },
    );
    panel
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::noise::normal;

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        for (i, x) in normal(1, 10_000).into_iter().enumerate() {
            assert_eq!(rounded(x), u32::from(half::bf16::from_f32(x).to_bits()), "{i}: {x}");
        }
    }

    #[test]
    fn products_are_those_of_rounded_numbers() {
        for (tokens, columns, rows) in [(1, 32, 1), (5, 64, 70), (13, 1100, 300), (96, 256, 256)] {
            let x = Tensor::from_vec(normal(1, tokens * columns), (tokens, columns), &Device::Cpu).unwrap();
            let w = Tensor::from_vec(normal(2, rows * columns), (rows, columns), &Device::Cpu).unwrap();
            if !is_possible(columns) {
                return;
            }
            let ours = linear(&x, rows, |start, count| w.narrow(0, start, count)).unwrap();
            let round = |x: &Tensor| {
                let short = x.to_dtype(candle_core::DType::BF16).unwrap();
                short.to_dtype(candle_core::DType::F32).unwrap()
            };
            let theirs = round(&x).matmul(&round(&w).t().unwrap()).unwrap();
            let apart = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
            let apart = apart.to_scalar::<f32>().unwrap();
            assert!(apart < 2e-3, "{apart} for {tokens}, {columns}, {rows}");
        }
    }
}
