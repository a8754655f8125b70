//! Pinned host memory, which a CUDA device copies from at the full speed of its link.

#[cfg(feature = "cuda")]
pub(crate) use self::cuda::Pinned;
#[cfg(not(feature = "cuda"))]
pub(crate) use self::plain::Pinned;

#[cfg(feature = "cuda")]
mod cuda {
    use std::ffi::c_void;
    use std::sync::Arc;

    use candle_core::cuda::cudarc::driver::{CudaContext, sys};
    use candle_core::{Device, Result};

    use crate::matrix::Matrix;

    /// Bytes below which a matrix is not pinned: small pieces share pages with others.
    const LEAST: usize = 1 << 20;

    /// A matrix in pinned host memory.
    pub(crate) struct Pinned {
        /// Keeps the memory alive.
        _matrix: Matrix,
        address: usize,
        context: Arc<CudaContext>,
    }

    impl Pinned {
        /// Pins the numbers of a matrix for a device. None for a small matrix, or if the system pins no more memory:
        /// copies then work too, but are slower.
        ///
        /// # Errors
        /// If the device is lost.
        pub(crate) fn new(matrix: &Matrix, device: &Device) -> Result<Option<Self>> {
            let Some((address, bytes)) = matrix.host_bytes()?.filter(|(_, bytes)| *bytes >= LEAST) else {
                return Ok(None);
            };
            let context = Arc::clone(device.as_cuda_device()?.cuda_stream().context());
            context.bind_to_thread().map_err(candle_core::Error::wrap)?;
            // SAFETY: the range is a live allocation, which `_matrix` keeps until `drop` has unregistered it. Nobody
            // writes to a matrix.
            #[expect(unsafe_code, reason = "cudarc has no safe call for memory that exists already")]
            let answer = unsafe { sys::cuMemHostRegister_v2(address as *mut c_void, bytes, 0) };
            if answer != sys::CUresult::CUDA_SUCCESS {
                tracing::warn!(?answer, bytes, "the system pins no more memory, so copies are slower");
                return Ok(None);
            }
            Ok(Some(Self { _matrix: matrix.clone(), address, context }))
        }
    }

    impl Drop for Pinned {
        fn drop(&mut self) {
            if self.context.bind_to_thread().is_err() {
                return;
            }
            // SAFETY: `new` has registered this address, and nobody else unregisters it.
            #[expect(unsafe_code, reason = "as above")]
            let _ = unsafe { sys::cuMemHostUnregister(self.address as *mut c_void) };
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod plain {
    use candle_core::{Device, Result};

    use crate::matrix::Matrix;

    /// Empty: this build has no device that copies from pinned memory.
    pub(crate) struct Pinned;

    impl Pinned {
        #[expect(clippy::unnecessary_wraps, reason = "as with CUDA")]
        pub(crate) fn new(_: &Matrix, _: &Device) -> Result<Option<Self>> {
            Ok(None)
        }
    }
}
