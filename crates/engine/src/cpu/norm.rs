//! Norms of rows, and gates.

use super::tasks::each_part;
use super::vector::{sum_of, widest};

/// Rows that one task norms.
const ROWS: usize = 16;
/// See [`each_part`].
const COST: usize = 8;

/// Layer norm of rows of the length of `weight`, with a weight and a bias.
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    rows(
        x,
        weight.len(),
        #[inline(always)]
        |row, out| {
            let count = row.len() as f32;
            let mean = sum_of(row, |value| value) / count;
            let variance = sum_of(row, |value| (value - mean) * (value - mean)) / count;
            let factor = 1.0 / (variance + epsilon).sqrt();
            for ((out, value), (weight, bias)) in out.iter_mut().zip(row).zip(weight.iter().zip(bias)) {
                *out = ((value - mean) * factor).mul_add(*weight, *bias);
            }
        },
    )
}

/// Norm of rows of the length of `weight` by their root mean square.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    rows(
        x,
        weight.len(),
        #[inline(always)]
        |row, out| rms_norm_row(row, out, weight, epsilon),
    )
}

/// One row of [`rms_norm`], to be inlined into a loop for wide vectors.
#[inline(always)]
pub(super) fn rms_norm_row(row: &[f32], out: &mut [f32], weight: &[f32], epsilon: f32) {
    let square = sum_of(row, |value| value * value) / row.len() as f32;
    let factor = 1.0 / (square + epsilon).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * factor * weight;
    }
}

/// `x + gate * y` for rows of the length of `gate`.
pub(crate) fn gated_add(x: &[f32], gate: &[f32], y: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    let task = (ROWS * gate.len()).max(1);
    each_part(&mut out, task, COST, |i, out| {
        let (x, y) = (&x[i * task..], &y[i * task..]);
        widest(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(gate.len()).zip(y.chunks_exact(gate.len()));
                for (out, (x, y)) in out.chunks_exact_mut(gate.len()).zip(rows) {
                    for ((out, x), (gate, y)) in out.iter_mut().zip(x).zip(gate.iter().zip(y)) {
                        *out = gate.mul_add(*y, *x);
                    }
                }
            },
        );
    });
    out
}

/// Adds a bias to rows of its length.
pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
    each_part(x, ROWS * bias.len(), COST, |_, x| {
        for row in x.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    });
}

/// Makes each row of the result from a row of `x`.
#[inline(always)]
fn rows(x: &[f32], width: usize, row: impl Fn(&[f32], &mut [f32]) + Sync + Send) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    let task = (ROWS * width).max(1);
    each_part(&mut out, task, COST, |i, out| {
        let x = &x[i * task..];
        widest(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    row(x, out);
                }
            },
        );
    });
    out
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::noise::normal;

    fn near(ours: &[f32], theirs: &Tensor) {
        let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs).abs() < 2e-5, "{ours}, not {theirs}");
        }
    }

    #[test]
    fn they_are_candles() {
        // More rows than a task has, and tails of vectors.
        for (count, width) in [(1, 5), (37, 64), (19, 131)] {
            let numbers = |seed, count: usize| normal(seed, count);
            let tensor = |values: &[f32], rows: usize| {
                Tensor::from_slice(values, (rows, values.len() / rows), &Device::Cpu).unwrap()
            };
            let (x, y) = (numbers(1, count * width), numbers(2, count * width));
            let (weight, bias) = (numbers(3, width), numbers(4, width));
            let (xs, ys) = (tensor(&x, count), tensor(&y, count));
            let [weights, biases] = [&weight, &bias].map(|values| tensor(values, 1).squeeze(0).unwrap());
            let theirs = candle_nn::ops::layer_norm(&xs, &weights, &biases, 1e-6).unwrap();
            near(&layer_norm(&x, &weight, &bias, 1e-6), &theirs);
            near(&rms_norm(&x, &weight, 1e-6), &candle_nn::ops::rms_norm(&xs, &weights, 1e-6).unwrap());
            near(&gated_add(&x, &weight, &y), &(xs + ys.broadcast_mul(&weights).unwrap()).unwrap());
        }
    }
}
