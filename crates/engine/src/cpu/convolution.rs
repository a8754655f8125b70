//! Convolutions of rows of a map, (rows, channels, columns), as sums of matrix products: one for each tap of the kernel,
//! read from where the input lies, so that nothing is laid out several times.

use std::ops::Range;

use super::product::{Old, Shape, View, multiply};
use super::tasks::{each_part, each_part_with};

/// A kernel: for each row, for each column, a matrix (output, input).
pub(crate) struct Taps {
    pub(crate) taps: Vec<Vec<Vec<f32>>>,
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// The map that a kernel slides over, with all zeros around it that it reads.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) values: &'a [f32],
    /// Columns with those zeros.
    pub(crate) columns: usize,
    /// How far the kernel moves from one number of the result to the next, in rows and in columns.
    pub(crate) stride: usize,
}

/// What a convolution begins with.
#[derive(Clone, Copy)]
pub(crate) struct Added<'a> {
    /// A number for each output channel.
    pub(crate) bias: &'a [f32],
    /// A map of the result's shape.
    pub(crate) map: Option<&'a [f32]>,
}

impl Taps {
    /// The convolution, (rows, output, columns), added to something.
    pub(crate) fn slide(&self, seen: Seen<'_>, rows: usize, columns: usize, added: Added<'_>) -> Vec<f32> {
        let (row, parts) = (self.output * columns, parts(rows, self.output));
        let channels = self.output / parts;
        let mut out = vec![0f32; rows * row];
        each_part(&mut out, channels * columns, self.cost(), |i, out| {
            let (y, first) = (i / parts, i % parts * channels);
            let map = added.map.map(|map| &map[i * channels * columns..][..channels * columns]);
            self.row(seen, y, columns, first..first + channels, Added { map, ..added }, out);
        });
        out
    }

    /// The convolution of a map whose every number becomes a square of four: (2 * rows, output, 2 * columns). There is
    /// a kernel for each corner of a square, row by row, which begins one row and column further for each.
    pub(crate) fn double(
        corners: &[Self; 4],
        seen: Seen<'_>,
        rows: usize,
        columns: usize,
        added: Added<'_>,
    ) -> Vec<f32> {
        let (input, output) = (corners[0].input, corners[0].output);
        let parts = parts(2 * rows, output);
        let channels = output / parts;
        let part = channels * columns;
        let mut out = vec![0f32; 4 * rows * output * columns];
        let room = || [vec![0f32; part], vec![0f32; part]];
        each_part_with(&mut out, 2 * part, corners[0].cost(), room, |halves, i, out| {
            let (y, first) = (i / parts, i % parts * channels);
            for (x, half) in halves.iter_mut().enumerate() {
                let values = &seen.values[(y % 2) * input * seen.columns + x..];
                let (seen, own) = (Seen { values, ..seen }, first..first + channels);
                corners[2 * (y % 2) + x].row(seen, y / 2, columns, own, added, half);
            }
            let (pairs, _) = out.as_chunks_mut::<2>();
            for (pair, (even, odd)) in pairs.iter_mut().zip(halves[0].iter().zip(&halves[1])) {
                *pair = [*even, *odd];
            }
        });
        out
    }

    /// Multiplications for a number of the result.
    fn cost(&self) -> usize {
        self.input * self.taps.iter().map(Vec::len).sum::<usize>()
    }

    /// Some channels of one row of the result.
    fn row(
        &self,
        seen: Seen<'_>,
        y: usize,
        columns: usize,
        channels: Range<usize>,
        added: Added<'_>,
        out: &mut [f32],
    ) {
        let bias = &added.bias[channels.clone()];
        match added.map {
            Some(map) => {
                let both = out.chunks_exact_mut(columns).zip(map.chunks_exact(columns));
                for ((out, map), bias) in both.zip(bias) {
                    out.iter_mut().zip(map).for_each(|(out, map)| *out = map + bias);
                }
            }
            None => {
                for (out, bias) in out.chunks_exact_mut(columns).zip(bias) {
                    out.fill(*bias);
                }
            }
        }
        for (dy, taps) in self.taps.iter().enumerate() {
            let row = &seen.values[(y * seen.stride + dy) * self.input * seen.columns..];
            for (dx, tap) in taps.iter().enumerate() {
                let input =
                    Shape { rows: self.input, columns, row_step: seen.columns, column_step: seen.stride };
                let tap = &tap[channels.start * self.input..];
                let tap = View::new(tap, Shape::dense(channels.len(), self.input));
                let shape = Shape::dense(channels.len(), columns);
                multiply(tap, View::new(&row[dx..], input), out, shape, Old::Kept);
            }
        }
    }
}

/// Parts of the output channels that are tasks of their own, so that few rows occupy several threads.
fn parts(rows: usize, output: usize) -> usize {
    const TASKS: usize = 8;
    const LEAST: usize = 64;
    let most = TASKS.div_ceil(rows.max(1)).min(output / LEAST).max(1);
    (1..=most).rev().find(|parts| output.is_multiple_of(*parts)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::noise::normal;

    #[test]
    fn it_is_candles() {
        for (input, output, rows, columns, stride) in
            [(3, 5, 4, 7, 1), (16, 256, 2, 65, 1), (4, 6, 5, 9, 2), (7, 70, 1, 1, 1), (5, 192, 1, 9, 2)]
        {
            let size = |count: usize| (count - 1) * stride + 3;
            let (height, width) = (size(rows), size(columns));
            let map =
                Tensor::from_vec(normal(1, input * height * width), (1, input, height, width), &Device::Cpu);
            let kernel = Tensor::from_vec(normal(2, output * input * 9), (output, input, 3, 3), &Device::Cpu);
            let (map, kernel, bias) = (map.unwrap(), kernel.unwrap(), normal(3, output));
            let biases = Tensor::from_slice(&bias, (1, output, 1, 1), &Device::Cpu).unwrap();
            let theirs = map.conv2d(&kernel, 0, stride, 1, 1).unwrap().broadcast_add(&biases).unwrap();
            let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let tap = |y, x| numbers(&kernel.narrow(2, y, 1).unwrap().narrow(3, x, 1).unwrap());
            let taps = (0..3).map(|y| (0..3).map(|x| tap(y, x)).collect()).collect();
            let seen = numbers(&map.squeeze(0).unwrap().transpose(0, 1).unwrap());
            let seen = Seen { values: &seen, columns: width, stride };
            let theirs = numbers(&theirs.squeeze(0).unwrap().transpose(0, 1).unwrap());
            let taps = Taps { taps, input, output };
            let ours = taps.slide(seen, rows, columns, Added { bias: &bias, map: None });
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| (ours - theirs).abs() < 1e-3));
            let twice = taps.slide(seen, rows, columns, Added { bias: &bias, map: Some(&theirs) });
            assert!(twice.iter().zip(theirs).all(|(twice, theirs)| (twice - 2.0 * theirs).abs() < 1e-3));
        }
    }
}
