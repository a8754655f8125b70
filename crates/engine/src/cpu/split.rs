//! Queries, keys and values of several streams from their projections, in one pass: split by heads, normed, rotated.

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use super::norm::rms_norm_row;
use super::tasks::is_much;
use super::vector::widest;

/// A stream's projection.
pub(crate) struct Stream<'a> {
    /// Rows of queries, keys and values, each head by head.
    pub(crate) projected: &'a [f32],
    /// Distance between rows.
    pub(crate) step: usize,
    pub(crate) tokens: usize,
    pub(crate) query_scale: &'a [f32],
    pub(crate) key_scale: &'a [f32],
}

/// Sizes and rotary tables of all tokens.
pub(crate) struct Heads<'a> {
    pub(crate) heads: usize,
    pub(crate) width: usize,
    /// (tokens, width / 2) each.
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
    pub(crate) epsilon: f32,
}

/// Queries, keys and values of the streams' tokens in their order: (heads, tokens, width) each.
pub(crate) fn split(streams: &[Stream<'_>], sizes: &Heads<'_>) -> [Vec<f32>; 3] {
    let Heads { heads, width, .. } = *sizes;
    let tokens: usize = streams.iter().map(|stream| stream.tokens).sum();
    assert!(sizes.cos.len() == tokens * width / 2 && sizes.sin.len() == tokens * width / 2);
    let room = || vec![0f32; heads * tokens * width];
    let [mut query, mut key, mut value] = [room(), room(), room()];
    let head = (tokens * width).max(1);
    let one = |head: usize, [query, key, value]: [&mut [f32]; 3]| {
        widest(
            #[inline(always)]
            || {
                let mut first = 0;
                for stream in streams {
                    let end = first + stream.tokens;
                    let own = first * width..end * width;
                    let part = [&mut query[own.clone()], &mut key[own.clone()], &mut value[own]];
                    sizes.one_head(stream, head, first, part);
                    first = end;
                }
            },
        );
    };
    if is_much(32 * heads * tokens * width) {
        let parts = query.par_chunks_mut(head).zip(key.par_chunks_mut(head));
        let parts = parts.zip(value.par_chunks_mut(head)).enumerate();
        parts.for_each(|(head, ((query, key), value))| one(head, [query, key, value]));
    } else {
        let parts = query.chunks_mut(head).zip(key.chunks_mut(head));
        let parts = parts.zip(value.chunks_mut(head)).enumerate();
        parts.for_each(|(head, ((query, key), value))| one(head, [query, key, value]));
    }
    [query, key, value]
}

impl Heads<'_> {
    /// One head of a stream whose first token is the `first` of all.
    #[inline(always)]
    fn one_head(&self, stream: &Stream<'_>, head: usize, first: usize, [query, key, value]: [&mut [f32]; 3]) {
        let (width, hidden) = (self.width, self.heads * self.width);
        let rows = query.chunks_exact_mut(width).zip(key.chunks_exact_mut(width));
        for (i, ((query, key), value)) in rows.zip(value.chunks_exact_mut(width)).enumerate() {
            let row = &stream.projected[i * stream.step..][..3 * hidden];
            let part = |part: usize| &row[part * hidden + head * width..][..width];
            let angles = (first + i) * width / 2..(first + i + 1) * width / 2;
            let (cos, sin) = (&self.cos[angles.clone()], &self.sin[angles]);
            rms_norm_row(part(0), query, stream.query_scale, self.epsilon);
            rms_norm_row(part(1), key, stream.key_scale, self.epsilon);
            rotate(query, cos, sin);
            rotate(key, cos, sin);
            value.copy_from_slice(part(2));
        }
    }
}

/// Rotates every pair of numbers by its angle.
#[inline(always)]
fn rotate(row: &mut [f32], cos: &[f32], sin: &[f32]) {
    for (pair, (cos, sin)) in row.as_chunks_mut::<2>().0.iter_mut().zip(cos.iter().zip(sin)) {
        let [x, y] = *pair;
        *pair = [x * cos - y * sin, x * sin + y * cos];
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp as _, Tensor};

    use crate::cpu::tensors::split_norm_rotate;
    use crate::noise::normal;

    #[test]
    fn it_is_candles() {
        for (heads, width, tokens) in [(1, 4, [1, 1]), (3, 20, [5, 9]), (2, 128, [33, 18])] {
            let random = |seed, shape: &[usize]| {
                Tensor::from_vec(normal(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
            };
            let all = tokens.iter().sum::<usize>();
            let (cos, sin) = (random(1, &[all, width / 2]), random(2, &[all, width / 2]));
            let scales = [3, 4, 5, 6].map(|seed| random(seed, &[width]));
            // The first columns of wider rows.
            let rows = |seed, count| random(seed, &[1, count, 3 * heads * width + 7]);
            let projected = [rows(7, tokens[0]), rows(8, tokens[1])];
            let projected = projected.map(|rows| rows.narrow(2, 0, 3 * heads * width).unwrap());
            let streams = [(&projected[0], &scales[0], &scales[1]), (&projected[1], &scales[2], &scales[3])];
            let ours = split_norm_rotate(&streams, heads, [&cos, &sin], 1e-6).unwrap();
            let part = |i: usize| {
                let parts = streams.map(|(rows, query, key)| {
                    let count = rows.dim(1).unwrap();
                    let rows = rows.contiguous().unwrap().reshape((1, count, 3, heads, width)).unwrap();
                    let part = rows.i((.., .., i)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
                    match i {
                        2 => part,
                        _ => candle_nn::ops::rms_norm(&part, [query, key][i], 1e-6).unwrap(),
                    }
                });
                let joined = Tensor::cat(&parts, 2).unwrap();
                if i == 2 { joined } else { candle_nn::rotary_emb::rope_i(&joined, &cos, &sin).unwrap() }
            };
            for (i, ours) in ours.iter().enumerate() {
                let apart = (ours - part(i)).unwrap().abs().unwrap().max_all().unwrap();
                let apart = apart.to_scalar::<f32>().unwrap();
                assert!(apart < 1e-5, "{apart} in part {i} of {heads} heads of {width}");
            }
        }
    }
}
