//! What candle does slowly in host memory, in float32: matrix products with their additions, attention, norms and
//! activations in one pass each, and convolutions.
//!
//! Results do not depend on the number of threads: every number is computed by one task, whose sums have a fixed order.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod convolution;
pub(crate) mod group;
pub(crate) mod norm;
pub(crate) mod product;
pub(crate) mod short;
mod short_kernel;
pub(crate) mod split;
mod tasks;
pub(crate) mod tensors;
pub(crate) mod vector;

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};

/// Whether all of these are in host memory and in float32.
pub(crate) fn are_here<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> bool {
    tensors.into_iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// Numbers of a tensor in host memory.
pub(crate) struct Numbers<'a, S> {
    storage: S,
    layout: &'a Layout,
}

/// Keeps a tensor's numbers from being changed.
pub(crate) fn numbers(tensor: &Tensor) -> Numbers<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Numbers { storage, layout }
}

impl<S: Deref<Target = Storage>> Numbers<'_, S> {
    /// The tensor's first number and all that lie behind it in memory, also those between its rows.
    ///
    /// # Errors
    /// If they are elsewhere or of another type.
    pub(crate) fn onwards(&self) -> Result<&[f32]> {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => Ok(&values[self.layout.start_offset()..]),
            _ => bail!("the numbers are not in host memory in float32"),
        }
    }

    /// All numbers in their order.
    ///
    /// # Errors
    /// If they do not lie beside one another in float32 in host memory.
    pub(crate) fn in_order(&self) -> Result<&[f32]> {
        match self.layout.contiguous_offsets() {
            Some((start, end)) => Ok(&self.onwards()?[..end - start]),
            None => bail!("the numbers do not lie in their order"),
        }
    }

    /// Distance in memory between neighbours along each dimension.
    pub(crate) fn steps(&self) -> &[usize] {
        self.layout.stride()
    }
}

/// Changes a tensor's numbers where they are. Nobody else may hold them.
///
/// # Errors
/// If they do not lie beside one another in float32 in host memory.
pub(crate) fn change(tensor: &Tensor, change: impl Fn(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Change(change))
}

struct Change<F>(F);

impl<F: Fn(&mut [f32])> candle_core::InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(values), Some((start, end))) => {
                (self.0)(&mut values[start..end]);
                Ok(())
            }
            _ => bail!("the numbers are not in their order in float32"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::attention::Attention;
    use super::*;
    use crate::noise::normal;

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let random = |seed, shape: &[usize]| {
            Tensor::from_vec(normal(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
        };
        // Large enough for several threads, with tails of every kind.
        let (x, weight, bias) = (random(1, &[129, 300]), random(2, &[321, 300]), random(3, &[321]));
        let query = random(4, &[1, 3, 129, 40]);
        let (key, value) = (random(5, &[1, 3, 513, 40]), random(6, &[1, 3, 513, 40]));
        let (map, kernel) = (random(7, &[20, 16, 65]), random(8, &[33, 16, 3, 3]));
        let (channel, taps) = (random(9, &[1, 33, 1]), tensors::taps(&kernel).unwrap());
        let compute = || {
            let attention = Attention { query: &query, key: &key, value: &value, scale: 0.2, bias: None };
            let results = [
                tensors::linear(&x, &weight, Some(&bias)).unwrap(),
                attention.attend().unwrap(),
                tensors::slide(&taps, &map, (18, 63), 1, &channel, None).unwrap(),
                tensors::group_moments(&map, 8).unwrap().1,
            ];
            results.map(|x| {
                x.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
            })
        };
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(compute)
        };
        let alone: [Vec<u32>; 4] = on(1);
        for threads in [2, 3, 7] {
            assert!(on(threads) == alone, "{threads} threads");
        }
    }
}
