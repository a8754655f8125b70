//! The hardware that a plan is made for.

use std::time::Instant;

use candle_core::{DType, Device, DeviceLocation, Tensor};
use serde::Serialize;

use super::cards;
use super::speed::Speed;
use crate::placement::Keep;
use crate::{Error, memory};

/// Kind of device, as far as operations depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The processor, which uses host memory.
    Cpu,
    /// CUDA, with candle's own kernels for convolutions.
    Cuda,
    /// CUDA, with cuDNN for convolutions.
    CudaCudnn,
    /// Metal.
    Metal,
}

impl Backend {
    /// The backend of a device in this build.
    pub fn of(device: &Device) -> Self {
        match device.location() {
            DeviceLocation::Cpu => Self::Cpu,
            DeviceLocation::Cuda { .. } => Self::cuda(),
            DeviceLocation::Metal { .. } => Self::Metal,
        }
    }

    /// The CUDA backend of this build, even if it is built without CUDA.
    pub const fn cuda() -> Self {
        if cfg!(feature = "cudnn") { Self::CudaCudnn } else { Self::Cuda }
    }

    /// Candle's location of such a device.
    pub(crate) const fn location(self) -> DeviceLocation {
        match self {
            Self::Cpu => DeviceLocation::Cpu,
            Self::Cuda | Self::CudaCudnn => DeviceLocation::Cuda { gpu_id: 0 },
            Self::Metal => DeviceLocation::Metal { gpu_id: 0 },
        }
    }

    /// The default compute type.
    pub const fn compute(self) -> DType {
        if matches!(self, Self::Cpu) { DType::F32 } else { DType::BF16 }
    }

    /// Whether the device has memory of its own.
    pub(crate) const fn is_apart(self) -> bool {
        matches!(self, Self::Cuda | Self::CudaCudnn)
    }
}

impl Speed {
    /// Measures this processor with a few small operations, which takes some hundredths of a second.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn of_this_processor() -> Result<Self, Error> {
        const TOKENS: usize = 256;
        const SIDE: usize = 1024;
        const NUMBERS: usize = 1 << 21;
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
        let (x, weight, long) = (ones(&[TOKENS, SIDE])?, ones(&[SIDE, SIDE])?, ones(&[NUMBERS])?);
        let products = (2 * TOKENS * SIDE * SIDE) as f64 / shortest(|| x.matmul(&weight))?;
        let memory = (3 * NUMBERS * size_of::<f32>()) as f64 / shortest(|| &long + &long)?;
        Ok(Self {
            name: "this processor".into(),
            products,
            wide_products: products,
            fp8_products: 0.0,
            int8_products: 0.0,
            memory,
            link: memory,
            reached_products: 1.0,
            reached_memory: 1.0,
            reached_link: 1.0,
        })
    }
}

/// Seconds of the fastest of several tries.
fn shortest(work: impl Fn() -> candle_core::Result<Tensor>) -> Result<f64, Error> {
    const TRIES: usize = 3;
    let mut shortest = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        work()?;
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    Ok(shortest.max(f64::MIN_POSITIVE))
}

/// The hardware that a plan is made for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hardware {
    /// Kind of device.
    pub backend: Backend,
    /// Bytes that this process may use on the device.
    pub device_bytes: u64,
    /// Whether the device is open, so that `device_bytes` no longer includes what the driver takes.
    pub is_open: bool,
    /// Bytes that this process may use in host memory.
    pub host_bytes: u64,
    /// The device's speed; None for an unknown card.
    pub speed: Option<Speed>,
    /// The processor's speed, if it computes a part.
    pub processor: Option<Speed>,
}

impl Hardware {
    /// A card with `vram` bytes of memory that need not be in this machine, in a host with `ram` bytes of memory, by
    /// default what is free here. Without a name, the default card of that size is assumed. Opens nothing.
    ///
    /// # Errors
    /// [`Error::Request`] for an unknown card.
    pub fn of_card(vram: u64, ram: Option<u64>, card: Option<&str>) -> Result<Self, Error> {
        let speed = card.map_or_else(|| Ok(cards::of_size(vram)), cards::named)?;
        Ok(Self {
            backend: Backend::cuda(),
            device_bytes: vram,
            is_open: false,
            host_bytes: believed_or_free(ram)?,
            speed: Some(speed),
            processor: Some(Speed::of_this_processor()?),
        })
    }

    /// An open device with its free memory, limited by `vram` if it is given, in a host with `ram` bytes of memory, by
    /// default what is free here.
    ///
    /// # Errors
    /// [`Error::Request`] if free memory is unknown and no size is given, or if a size is given for memory that the
    /// device does not have.
    pub fn of_device(device: &Device, vram: Option<u64>, ram: Option<u64>) -> Result<Self, Error> {
        let backend = Backend::of(device);
        if vram.is_some() && backend == Backend::Cpu {
            let reason = "the processor has no memory of its own, so what is free in the host counts".into();
            return Err(Error::Request { parameter: "vram", reason });
        }
        let host_bytes = believed_or_free(ram)?;
        let device_bytes = match backend {
            Backend::Cpu => host_bytes,
            _ => smaller("vram", memory::free(device), vram)?,
        };
        let processor = Some(Speed::of_this_processor()?);
        let speed = match backend {
            Backend::Cpu => processor.clone(),
            _ => memory::card(device).and_then(|name| cards::of_driver(&name)),
        };
        Ok(Self { backend, device_bytes, is_open: true, host_bytes, speed, processor })
    }
}

impl Hardware {
    /// Whether the device is known to multiply the eight-bit numbers of a tier.
    pub(super) fn multiplies(&self, keep: Keep) -> bool {
        let (Keep::Tier(tier), Some(speed)) = (keep, &self.speed) else { return false };
        tier.stored().is_some_and(|stored| speed.eight_bits(stored) > 0.0)
    }
}

/// Bytes of host memory that somebody states, which need not be free or in this machine; by default what is free.
fn believed_or_free(ram: Option<u64>) -> Result<u64, Error> {
    ram.map_or_else(|| smaller("ram", memory::free(&Device::Cpu), None), Ok)
}

fn smaller(parameter: &'static str, free: Option<u64>, limit: Option<u64>) -> Result<u64, Error> {
    let unknown =
        || Error::Request { parameter, reason: "free memory is unknown, so a size is needed".into() };
    match (free, limit) {
        (Some(free), Some(limit)) => Ok(free.min(limit)),
        (free, limit) => free.or(limit).ok_or_else(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_free_memory_and_the_limit_counts() {
        let smaller = |free, limit| smaller("vram", free, limit).map_err(|error| error.to_string());
        assert_eq!(smaller(Some(7), Some(5)), Ok(5));
        assert_eq!(smaller(Some(7), Some(9)), Ok(7));
        assert_eq!((smaller(Some(7), None), smaller(None, Some(5))), (Ok(7), Ok(5)));
        assert_eq!(smaller(None, None), Err("vram: free memory is unknown, so a size is needed".into()));
    }

    #[test]
    fn the_processor_has_no_memory_but_the_hosts() {
        let hardware = Hardware::of_device(&Device::Cpu, None, Some(1 << 30)).unwrap();
        assert_eq!((hardware.device_bytes, hardware.host_bytes), (1 << 30, 1 << 30));
        let speed = hardware.speed.unwrap();
        assert!(speed.products > 1e8 && speed.memory > 1e7, "{speed:?}");
        let refused = Hardware::of_device(&Device::Cpu, Some(1 << 30), None).unwrap_err().to_string();
        assert!(refused.starts_with("vram: the processor") && !refused.contains("ram instead"), "{refused}");
        let stated = Hardware::of_device(&Device::Cpu, None, Some(1 << 49)).unwrap();
        assert_eq!((stated.device_bytes, stated.host_bytes), (1 << 49, 1 << 49), "more than any machine has");
    }
}
