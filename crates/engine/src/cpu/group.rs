//! Group norm of rows of a map, (rows, channels, columns).

use rayon::iter::ParallelIterator as _;
use rayon::slice::ParallelSlice as _;

use super::tasks::{each_part, is_much};
use super::vector::{sigmoid, sum_of, widest};

/// Mean and variance of each `group` neighbouring numbers.
pub(crate) fn moments(x: &[f32], group: usize) -> (Vec<f32>, Vec<f32>) {
    let of = |values: &[f32]| {
        widest(
            #[inline(always)]
            || {
                let mean = sum_of(values, |value| value) / group as f32;
                (mean, sum_of(values, |value| (value - mean) * (value - mean)) / group as f32)
            },
        )
    };
    if is_much(8 * x.len()) {
        x.par_chunks_exact(group.max(1)).map(of).unzip()
    } else {
        x.chunks_exact(group.max(1)).map(of).unzip()
    }
}

/// Rows and columns of zeros around a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) above: usize,
    pub(crate) below: usize,
    pub(crate) left: usize,
    pub(crate) right: usize,
}

impl Frame {
    /// The map within the frame, (rows, channels, columns), each number as `of` makes it from its channel's `values`.
    pub(crate) fn put<V: Copy + Sync>(
        self,
        x: &[f32],
        columns: usize,
        channels: &[V],
        of: impl Fn(f32, V) -> f32 + Sync + Send,
    ) -> Vec<f32> {
        let (framed, count) = (self.left + columns + self.right, channels.len());
        let row = count * framed;
        let rows = x.len() / (count * columns).max(1);
        let mut out = vec![0f32; (self.above + rows + self.below) * row];
        let inner = &mut out[self.above * row..(self.above + rows) * row];
        each_part(inner, row, 32, |i, out| {
            let x = &x[i * count * columns..];
            widest(
                #[inline(always)]
                || {
                    let rows = out.chunks_exact_mut(framed).zip(x.chunks_exact(columns));
                    for ((out, x), channel) in rows.zip(channels) {
                        for (out, x) in out[self.left..][..columns].iter_mut().zip(x) {
                            *out = of(*x, *channel);
                        }
                    }
                },
            );
        });
        out
    }
}

/// `factor * x + offset` with a factor and an offset for each channel, then SiLU if `activate`; within a frame.
pub(crate) fn norm(
    x: &[f32],
    columns: usize,
    (factors, offsets): (&[f32], &[f32]),
    activate: bool,
    frame: Frame,
) -> Vec<f32> {
    let channels: Vec<_> = factors.iter().copied().zip(offsets.iter().copied()).collect();
    if activate {
        frame.put(
            x,
            columns,
            &channels,
            #[inline(always)]
            |x, (factor, offset)| {
                let normed = x.mul_add(factor, offset);
                normed * sigmoid(normed)
            },
        )
    } else {
        frame.put(
            x,
            columns,
            &channels,
            #[inline(always)]
            |x, (factor, offset)| x.mul_add(factor, offset),
        )
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Tensor};

    use super::*;
    use crate::noise::normal;

    #[test]
    fn they_are_candles() {
        for (rows, channels, columns) in [(1, 32, 1), (3, 64, 21), (5, 32, 130)] {
            let (x, factors, offsets) =
                (normal(1, rows * channels * columns), normal(2, channels), normal(3, channels));
            let tensor = |values: &[f32], shape: (usize, usize, usize)| {
                Tensor::from_slice(values, shape, &Device::Cpu)
            };
            let map = tensor(&x, (rows, channels, columns)).unwrap();
            let [f, o] = [&factors, &offsets].map(|values| tensor(values, (1, channels, 1)).unwrap());
            let normed = map.broadcast_mul(&f).unwrap().broadcast_add(&o).unwrap();
            for (activate, theirs) in [(false, normed.clone()), (true, normed.silu().unwrap())] {
                let frame = Frame { above: 1, below: 0, left: 1, right: 2 };
                let theirs = theirs.pad_with_zeros(D::Minus1, 1, 2).unwrap().pad_with_zeros(0, 1, 0).unwrap();
                let ours = norm(&x, columns, (&factors, &offsets), activate, frame);
                let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| (ours - theirs).abs() < 2e-6));
                assert_eq!(ours.len(), theirs.len());
            }
            let group = channels / 32 * columns;
            let (means, variances) = moments(&x, group);
            for (i, values) in x.chunks(group).enumerate() {
                let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / group as f64;
                let variance =
                    values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / group as f64;
                assert!((f64::from(means[i]) - mean).abs() < 1e-6);
                assert!((f64::from(variances[i]) - variance).abs() < 1e-5);
            }
        }
    }
}
