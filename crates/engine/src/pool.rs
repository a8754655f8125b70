//! The pool that CUDA takes a device's memory from.

use candle_core::{Device, Result};

/// Lets the pool keep what is freed. By default each wait for the device gives all of it back to the driver, and the
/// next step asks for it again.
///
/// # Errors
/// If the device is lost.
#[cfg(feature = "cuda")]
pub(crate) fn keep_freed(device: &Device) -> Result<()> {
    use candle_core::cuda::cudarc::driver::sys;
    let Some(pool) = cuda::pool(device)? else { return Ok(()) };
    let mut threshold = u64::MAX;
    // SAFETY: the pool is the device's own, and the attribute is a number of 64 bits.
    #[expect(unsafe_code, reason = "cudarc has no safe call for it")]
    let answer = unsafe {
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast())
    };
    answer.result().map_err(candle_core::Error::wrap)
}

/// Gives back to the driver what the pool keeps, so that what is free can be asked for.
///
/// # Errors
/// If the device is lost.
#[cfg(feature = "cuda")]
pub(crate) fn give_back(device: &Device) -> Result<()> {
    use candle_core::cuda::cudarc::driver::sys;
    let Some(pool) = cuda::pool(device)? else { return Ok(()) };
    device.synchronize()?;
    // SAFETY: the pool is the device's own; what is in use stays in it.
    #[expect(unsafe_code, reason = "cudarc has no safe call for it")]
    let answer = unsafe { sys::cuMemPoolTrimTo(pool, 0) };
    answer.result().map_err(candle_core::Error::wrap)
}

#[cfg(feature = "cuda")]
mod cuda {
    use candle_core::cuda::cudarc::driver::sys;
    use candle_core::{Device, Result};

    /// None for a device that is not CUDA's.
    pub(super) fn pool(device: &Device) -> Result<Option<sys::CUmemoryPool>> {
        let Device::Cuda(device) = device else { return Ok(None) };
        let stream = device.cuda_stream();
        let context = stream.context();
        context.bind_to_thread().map_err(candle_core::Error::wrap)?;
        let mut pool = std::ptr::null_mut();
        // SAFETY: the device is open, and the answer goes to a pointer of our own.
        #[expect(unsafe_code, reason = "cudarc has no safe call for it")]
        let answer = unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device()) };
        answer.result().map_err(candle_core::Error::wrap)?;
        Ok(Some(pool))
    }
}

/// Nothing: this build has no such pool.
#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "as with CUDA")]
pub(crate) fn keep_freed(_: &Device) -> Result<()> {
    Ok(())
}
