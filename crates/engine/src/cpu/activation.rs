//! Activations in place.

use candle_core::{Result, Tensor};

use super::tasks::each_part;
use super::vector::{sigmoid, widest};

/// Numbers that one task changes: as many as fit into a processor's own cache.
const TASK: usize = 1 << 15;
/// See [`each_part`].
const COST: usize = 32;

/// GELU in its tanh form (arXiv 1606.08415): `0.5 (1 + tanh u) = sigmoid(2 u)`.
#[inline(always)]
fn gelu_of(x: f32) -> f32 {
    /// `2 sqrt(2 / pi)`.
    const FACTOR: f32 = 1.595_769;
    x * sigmoid(FACTOR * x * (0.044_715 * x).mul_add(x, 1.0))
}

/// GELU in its tanh form. Nobody else may hold the numbers, which lie in their order.
///
/// # Errors
/// If they are elsewhere or of another type.
pub(crate) fn gelu(x: &Tensor) -> Result<()> {
    super::change(x, |values| {
        each_part(values, TASK, COST, |_, part| {
            widest(
                #[inline(always)]
                || part.iter_mut().for_each(|value| *value = gelu_of(*value)),
            );
        });
    })
}

/// `gelu(x) * factor`, in place of `x`.
///
/// # Errors
/// If the numbers are elsewhere, of another type or of another count.
pub(crate) fn gelu_times(x: &Tensor, factor: &Tensor) -> Result<()> {
    let factor = super::numbers(factor);
    let factor = factor.in_order()?;
    if factor.len() != x.elem_count() {
        candle_core::bail!("{} factors for {} numbers", factor.len(), x.elem_count());
    }
    super::change(x, |values| {
        each_part(values, TASK, COST, |i, part| {
            let factor = &factor[i * TASK..];
            widest(
                #[inline(always)]
                || part.iter_mut().zip(factor).for_each(|(value, by)| *value = gelu_of(*value) * by),
            );
        });
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn they_are_candles() {
        // Longer than a task, with a tail.
        let values: Vec<f32> = (0..TASK + 21).map(|i| i as f32 * (24.0 / TASK as f32) - 12.0).collect();
        let x = Tensor::new(values.clone(), &Device::Cpu).unwrap();
        let factor = (&x * 0.25).unwrap();
        type InPlace = fn(&Tensor, &Tensor) -> Result<()>;
        let cases: [(InPlace, Tensor); 2] =
            [(|x, _| gelu(x), x.gelu().unwrap()), (gelu_times, (x.gelu().unwrap() * &factor).unwrap())];
        for (ours, theirs) in cases {
            let x = x.copy().unwrap();
            ours(&x, &factor).unwrap();
            let apart = (x - theirs).unwrap().abs().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
            assert!(apart < 4e-6, "{apart}");
        }
    }
}
