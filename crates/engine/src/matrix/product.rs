//! Products with a weight that is converted to the compute type, a band of rows at a time.

use candle_core::{DeviceLocation, Result, Tensor};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// Most bytes that one product converts to the compute type at a time on a GPU, where one large multiplication is
/// faster than several. The largest matrix of FLUX.1-dev, `linear1` (21504, 3072), takes 252 MiB, as f16 and bf16 at
/// once or as f32, and is converted in one piece.
pub const SCRATCH_BYTES: usize = 256 << 20;

/// As [`SCRATCH_BYTES`], on the CPU: small enough that the allocator reuses freed memory without page faults. Measured
/// for (9216, 3072) in fp8 against dense float32, bands of this size add 7 % to the processor time of 1,536 tokens and
/// 30 % to that of 64; in one piece they add 12 and 60 %.
pub const CPU_SCRATCH_BYTES: usize = 16 << 20;

/// Bytes for each integer while it is converted on a GPU: four copies in float32.
const INT8_CONVERTING: usize = 16;

/// Number of rows of a matrix (out, in) to convert to the compute type at once: all, or a multiple of 16, and at least
/// 16 however long they are.
pub(super) fn band_rows((rows, columns): (usize, usize), place: DeviceLocation) -> usize {
    let (bound, whole, part) = match place {
        DeviceLocation::Cpu => (CPU_SCRATCH_BYTES, 4, 4),
        // Some of the rows are converted through f32 to 16 bits (6 bytes per number), all rows through f16 (4 bytes).
        _ => (SCRATCH_BYTES, 4, 6),
    };
    if rows <= bound / whole / columns {
        return rows;
    }
    ((bound / part / columns / 16).max(1) * 16).min(rows)
}

/// As [`band_rows`] for integers with scales of rows.
pub(super) fn int8_band_rows((rows, columns): (usize, usize)) -> usize {
    ((SCRATCH_BYTES / INT8_CONVERTING / columns / 16).max(1) * 16).min(rows)
}

/// Most bytes that converting integers takes at once.
pub(super) fn int8_scratch_bytes(shape: (usize, usize)) -> u64 {
    (int8_band_rows(shape) * shape.1 * INT8_CONVERTING) as u64
}

/// `x` (tokens, in) times the transpose of a weight of `rows` rows. `band(start, count)` gives `count` of its rows, in
/// the type of `x`.
pub(super) fn multiply_in_bands(
    x: &Tensor,
    rows: usize,
    at_once: usize,
    band: impl Fn(usize, usize) -> Result<Tensor>,
) -> Result<Tensor> {
    if at_once >= rows {
        return multiply(x, &band(0, rows)?);
    }
    // Written in place: concatenating would hold the output twice.
    let joined = Tensor::zeros((x.dim(0)?, rows), x.dtype(), x.device())?;
    for start in (0..rows).step_by(at_once) {
        let band = band(start, at_once.min(rows - start))?;
        joined.slice_set(&multiply(x, &band)?, 1, start)?;
    }
    Ok(joined)
}

/// As [`multiply_in_bands`] for few tokens on the CPU, where converting bands costs much more than multiplying: bands
/// are short, and converted on all processors.
pub(super) fn multiply_few_tokens(
    x: &Tensor,
    (rows, columns): (usize, usize),
    band: impl Fn(usize, usize) -> Result<Tensor> + Sync,
) -> Result<Tensor> {
    let at_once = short_band_rows(columns);
    let joined = Tensor::zeros((x.dim(0)?, rows), x.dtype(), x.device())?;
    (0..rows.div_ceil(at_once)).into_par_iter().try_for_each(|i| {
        let start = i * at_once;
        let band = band(start, at_once.min(rows - start))?;
        joined.slice_set(&multiply(x, &band)?, 1, start)
    })?;
    Ok(joined)
}

/// Number of rows of `columns` float32 numbers that fit into a processor's own cache.
fn short_band_rows(columns: usize) -> usize {
    const CACHE_BYTES: usize = 1 << 20;
    (CACHE_BYTES / size_of::<f32>() / columns / 16).max(1) * 16
}

/// `x` (tokens, in) times the transpose of `weight` (out, in).
pub(super) fn multiply(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}
