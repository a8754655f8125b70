//! Work on parts of a slice: on all threads, or on this one if there is little of it, because waking a thread and waiting
//! for it takes longer than a small matrix product.

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

/// Multiplications that one thread does in about the time of waking another.
const FEW: usize = 1 << 21;

/// Whether so many multiplications are worth several threads. Exponentials and the like count as 32.
pub(crate) fn is_much(multiplications: usize) -> bool {
    multiplications > FEW && rayon::current_num_threads() > 1
}

/// Calls `work` with each part of `size` numbers, and its number. `cost`: multiplications for a number.
pub(crate) fn each_part(
    out: &mut [f32],
    size: usize,
    cost: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    each_part_with(out, size, cost, || (), |(), i, part| work(i, part));
}

/// The same with what `room` makes for each thread.
pub(crate) fn each_part_with<R>(
    out: &mut [f32],
    size: usize,
    cost: usize,
    room: impl Fn() -> R + Sync + Send,
    work: impl Fn(&mut R, usize, &mut [f32]) + Sync + Send,
) {
    let size = size.max(1);
    if is_much(out.len().saturating_mul(cost)) {
        out.par_chunks_mut(size).enumerate().for_each_init(room, |room, (i, part)| work(room, i, part));
    } else {
        let mut room = room();
        out.chunks_mut(size).enumerate().for_each(|(i, part)| work(&mut room, i, part));
    }
}
