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
