//! The way from an operation to its kernel.

use candle_core::{DType, Device, Result, Tensor};

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
    if let Device::Cuda(device) = near.device()
        && cuda::is_trusted(device, kernel, near.dtype())
        && let Some(work) = work()
    {
        return cuda::compute(&work, device).map(Some);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = (near, kernel, work);
    Ok(None)
}

/// Whether a kernel for a type is trusted on a device.
pub(crate) fn is_on(device: &Device, kernel: Kernel, dtype: DType) -> bool {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return cuda::is_trusted(device, kernel, dtype);
    }
    let _ = (device, kernel, dtype);
    false
}
