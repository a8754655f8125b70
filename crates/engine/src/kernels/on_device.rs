//! The way from an operation to its kernel.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{Kernel, Work};

/// Computes an operation by its kernel if `near`, one of its tensors, lies on a device where this kernel is trusted and
/// `work` has one for these shapes. None if it has to be computed otherwise.
///
/// # Errors
/// If the device fails.
#[cfg_attr(not(feature = "cuda"), expect(clippy::unnecessary_wraps, reason = "as with CUDA"))]
pub(crate) fn on_device(
    near: &Tensor,
    kernel: Kernel,
    work: impl FnOnce() -> Option<Work>,
) -> Result<Option<Tensor>> {
    #[cfg(feature = "cuda")]
    if let candle_core::Device::Cuda(device) = near.device()
        && cuda::is_trusted(device, kernel, near.dtype())
        && let Some(work) = work()
    {
        return cuda::compute(&work, device).map(Some);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = (near, kernel, work);
    Ok(None)
}
