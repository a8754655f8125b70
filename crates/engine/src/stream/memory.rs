//! Host memory that a device copies from.

use std::ops::{Deref, DerefMut};

/// A piece of host memory, pinned if possible.
pub(crate) enum Memory {
    /// The device copies from it at the full speed of its link, and the host need not wait.
    #[cfg(feature = "cuda")]
    Pinned(pinned::Pinned),
    /// Copies go through the driver's own buffer, and the host waits for them.
    Plain(Vec<u8>),
}

impl Memory {
    /// So many bytes that are not pinned.
    pub(crate) fn plain(bytes: usize) -> Self {
        Self::Plain(vec![0; bytes])
    }

    /// So many bytes, pinned for this device as far as the limit and the system allow.
    ///
    /// # Errors
    /// If the device is lost.
    #[cfg(feature = "cuda")]
    pub(crate) fn pinned(
        bytes: usize,
        device: &candle_core::CudaDevice,
        limit: &std::sync::Arc<super::PinnedLimit>,
    ) -> candle_core::Result<Self> {
        Ok(pinned::Pinned::new(bytes, device, limit)?.map_or_else(|| Self::plain(bytes), Self::Pinned))
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            #[cfg(feature = "cuda")]
            Self::Pinned(memory) => memory,
            Self::Plain(memory) => memory,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            #[cfg(feature = "cuda")]
            Self::Pinned(memory) => memory,
            Self::Plain(memory) => memory,
        }
    }
}

#[cfg(feature = "cuda")]
mod pinned {
    use std::ops::{Deref, DerefMut};
    use std::ptr::NonNull;
    use std::slice;
    use std::sync::Arc;

    use candle_core::cuda::cudarc::driver::{CudaContext, result};
    use candle_core::{CudaDevice, Result};

    use crate::stream::PinnedLimit;

    /// Memory that the driver has pinned.
    pub(crate) struct Pinned {
        start: NonNull<u8>,
        bytes: usize,
        context: Arc<CudaContext>,
        limit: Arc<PinnedLimit>,
    }

    // SAFETY: it owns its memory, which any thread may read and free.
    #[expect(unsafe_code, reason = "a raw pointer is neither by itself")]
    unsafe impl Send for Pinned {}
    // SAFETY: as above; it is changed through `&mut` alone.
    #[expect(unsafe_code, reason = "as above")]
    unsafe impl Sync for Pinned {}

    impl Pinned {
        /// So many bytes; none, and a line in the log, if that is over the limit or the system pins no more.
        pub(super) fn new(
            bytes: usize,
            device: &CudaDevice,
            limit: &Arc<PinnedLimit>,
        ) -> Result<Option<Self>> {
            if bytes == 0 || !limit.take(bytes as u64) {
                if bytes > 0 {
                    limit.tell("the plan counts no more");
                }
                return Ok(None);
            }
            let context = Arc::clone(device.cuda_stream().context());
            context.bind_to_thread().map_err(candle_core::Error::wrap)?;
            // SAFETY: the context is bound to this thread, and the memory is written before it is read.
            #[expect(unsafe_code, reason = "cudarc's safe type waits for the device each time it is read")]
            let answer = unsafe { result::malloc_host(bytes, 0) };
            match answer.map(|start| NonNull::new(start.cast::<u8>())) {
                Ok(Some(start)) => {
                    // SAFETY: so many bytes begin there, and nobody else knows them.
                    #[expect(unsafe_code, reason = "as above")]
                    unsafe {
                        start.as_ptr().write_bytes(0, bytes);
                    }
                    Ok(Some(Self { start, bytes, context, limit: Arc::clone(limit) }))
                }
                refused => {
                    limit.give_back(bytes as u64);
                    let reason = refused.err().map_or_else(String::new, |error| format!(" ({error})"));
                    limit.tell(&format!("the system refuses it{reason}"));
                    Ok(None)
                }
            }
        }
    }

    impl Drop for Pinned {
        fn drop(&mut self) {
            self.limit.give_back(self.bytes as u64);
            if self.context.bind_to_thread().is_ok() {
                // SAFETY: it comes from `malloc_host`, and who copies from it has finished: see `cuda::Copier`.
                #[expect(unsafe_code, reason = "as above")]
                let _ = unsafe { result::free_host(self.start.as_ptr().cast()) };
            }
        }
    }

    impl Deref for Pinned {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            // SAFETY: so many bytes begin there, all written, and live as long as `self`.
            #[expect(unsafe_code, reason = "as above")]
            unsafe {
                slice::from_raw_parts(self.start.as_ptr(), self.bytes)
            }
        }
    }

    impl DerefMut for Pinned {
        fn deref_mut(&mut self) -> &mut [u8] {
            // SAFETY: as above, and `self` is borrowed alone.
            #[expect(unsafe_code, reason = "as above")]
            unsafe {
                slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes)
            }
        }
    }
}
