//! CUDA's memory pool of a device.

use candle_core::{Device, Result};

/// Lets the pool keep freed memory. By default, every synchronisation gives all of it back to the driver, and the next
/// step asks for it again.
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

/// Gives freed memory back to the driver: between stages of a job, whose tensors have other sizes and would not fit
/// into the fragments, and before free memory is measured.
///
/// # Errors
/// If the device is lost.
#[cfg(feature = "cuda")]
pub(crate) fn give_back(device: &Device) -> Result<()> {
    use candle_core::cuda::cudarc::driver::sys;
    let Some(pool) = cuda::pool(device)? else { return Ok(()) };
    device.synchronize()?;
    // SAFETY: the pool is the device's own, and memory in use stays in it.
    #[expect(unsafe_code, reason = "cudarc has no safe call for it")]
    let answer = unsafe { sys::cuMemPoolTrimTo(pool, 0) };
    answer.result().map_err(candle_core::Error::wrap)
}

/// Does nothing: this build has no such pool.
///
/// # Errors
/// None.
#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "as with CUDA")]
pub(crate) fn give_back(_: &Device) -> Result<()> {
    Ok(())
}

/// Bytes in use; None if they are not counted.
///
/// # Errors
/// If the device is lost.
pub(crate) fn used(device: &Device) -> Result<Option<u64>> {
    counts::used(device)
}

/// Most bytes in use since [`forget_peak`]; None if they are not counted.
///
/// # Errors
/// If the device is lost.
pub(crate) fn peak(device: &Device) -> Result<Option<u64>> {
    counts::peak(device)
}

/// Resets the peak.
///
/// # Errors
/// If the device is lost.
pub(crate) fn forget_peak(device: &Device) -> Result<()> {
    counts::forget_peak(device)
}

#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "as with CUDA")]
mod counts {
    use candle_core::{Device, Result};

    pub(super) fn used(_: &Device) -> Result<Option<u64>> {
        Ok(None)
    }

    pub(super) fn peak(_: &Device) -> Result<Option<u64>> {
        Ok(None)
    }

    pub(super) fn forget_peak(_: &Device) -> Result<()> {
        Ok(())
    }
}

#[cfg(feature = "cuda")]
mod counts {
    use candle_core::cuda::cudarc::driver::sys::{
        CUmemPool_attribute, cuMemPoolGetAttribute, cuMemPoolSetAttribute,
    };
    use candle_core::{Device, Result};

    use super::cuda::pool;

    pub(super) fn used(device: &Device) -> Result<Option<u64>> {
        get(device, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    pub(super) fn peak(device: &Device) -> Result<Option<u64>> {
        get(device, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    pub(super) fn forget_peak(device: &Device) -> Result<()> {
        let Some(pool) = pool(device)? else { return Ok(()) };
        let mut zero = 0u64;
        // SAFETY: the pool is the device's own, and the attribute is a number of 64 bits that zero resets.
        #[expect(unsafe_code, reason = "cudarc has no safe call for it")]
        let answer = unsafe {
            let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
            cuMemPoolSetAttribute(pool, attribute, (&raw mut zero).cast())
        };
        answer.result().map_err(candle_core::Error::wrap)
    }

    fn get(device: &Device, attribute: CUmemPool_attribute) -> Result<Option<u64>> {
        let Some(pool) = pool(device)? else { return Ok(None) };
        let mut bytes = 0u64;
        // SAFETY: the pool is the device's own, and these attributes are numbers of 64 bits.
        #[expect(unsafe_code, reason = "cudarc has no safe call for it")]
        let answer = unsafe { cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()) };
        answer.result().map_err(candle_core::Error::wrap)?;
        Ok(Some(bytes))
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use candle_core::cuda::cudarc::driver::sys;
    use candle_core::{Device, Result};

    /// The device's pool; None for a device other than CUDA.
    pub(super) fn pool(device: &Device) -> Result<Option<sys::CUmemoryPool>> {
        let Device::Cuda(device) = device else { return Ok(None) };
        let stream = device.cuda_stream();
        let context = stream.context();
        context.bind_to_thread().map_err(candle_core::Error::wrap)?;
        let mut pool = std::ptr::null_mut();
        // SAFETY: the device is open, and the result is written to a variable of ours.
        #[expect(unsafe_code, reason = "cudarc has no safe call for it")]
        let answer = unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device()) };
        answer.result().map_err(candle_core::Error::wrap)?;
        Ok(Some(pool))
    }
}

/// Does nothing: this build has no such pool.
#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "as with CUDA")]
pub(crate) fn keep_freed(_: &Device) -> Result<()> {
    Ok(())
}
