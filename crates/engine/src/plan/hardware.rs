//! What there is to compute with.

use std::time::Instant;

use candle_core::{DType, Device, DeviceLocation, Tensor};
use serde::Serialize;

use super::cards;
use crate::{Error, memory};

/// What computes, as far as the operations depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The processor, whose memory is the host's.
    Cpu,
    /// CUDA, convolutions by candle's own kernels.
    Cuda,
    /// CUDA, convolutions by cuDNN.
    CudaCudnn,
    /// Metal.
    Metal,
}

impl Backend {
    /// What a device is in this build.
    pub fn of(device: &Device) -> Self {
        match device.location() {
            DeviceLocation::Cpu => Self::Cpu,
            DeviceLocation::Cuda { .. } => Self::cuda(),
            DeviceLocation::Metal { .. } => Self::Metal,
        }
    }

    /// CUDA as this build has it, or would have it.
    pub const fn cuda() -> Self {
        if cfg!(feature = "cudnn") { Self::CudaCudnn } else { Self::Cuda }
    }

    /// Where candle says that such a device is.
    pub(crate) const fn location(self) -> DeviceLocation {
        match self {
            Self::Cpu => DeviceLocation::Cpu,
            Self::Cuda | Self::CudaCudnn => DeviceLocation::Cuda { gpu_id: 0 },
            Self::Metal => DeviceLocation::Metal { gpu_id: 0 },
        }
    }

    /// The type that it computes in unless it is told otherwise.
    pub const fn compute(self) -> DType {
        if matches!(self, Self::Cpu) { DType::F32 } else { DType::BF16 }
    }

    /// Whether the device has memory of its own.
    pub(crate) const fn is_apart(self) -> bool {
        matches!(self, Self::Cuda | Self::CudaCudnn)
    }
}

/// How fast something computes, in operations and bytes a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// What it is.
    pub name: String,
    /// Products in bf16 and f16 with sums in float32.
    pub products: f64,
    /// Products in float32.
    pub wide_products: f64,
    /// Its memory.
    pub memory: f64,
    /// Between it and the host's memory.
    pub link: f64,
    /// Part of `products` and `wide_products` that large products reach.
    pub reached_products: f64,
    /// Part of `memory` that is reached.
    pub reached_memory: f64,
    /// Part of `link` that is reached.
    pub reached_link: f64,
}

impl Speed {
    /// This processor, by a few small operations: takes some hundredths of a second.
    ///
    /// # Errors
    /// If they fail.
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
            memory,
            link: memory,
            reached_products: 1.0,
            reached_memory: 1.0,
            reached_link: 1.0,
        })
    }
}

/// Seconds of the fastest of some tries.
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

/// What a plan is made for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hardware {
    /// What computes.
    pub backend: Backend,
    /// Bytes that this process may have on the device.
    pub device_bytes: u64,
    /// Whether the device is open, so that what its driver takes is gone from `device_bytes` already.
    pub is_open: bool,
    /// Bytes that this process may have in the host's memory.
    pub host_bytes: u64,
    /// The device's speed; None for a card that nobody knows.
    pub speed: Option<Speed>,
    /// The processor's, where it computes for the device.
    pub processor: Option<Speed>,
}

impl Hardware {
    /// A card that need not be there: `vram` bytes of memory beside `ram` of a host, or what is free on this one.
    /// Without a name, one of the size stands for it. Nothing is opened.
    ///
    /// # Errors
    /// [`Error::Request`] for a card that nobody knows.
    pub fn of_card(vram: u64, ram: Option<u64>, card: Option<&str>) -> Result<Self, Error> {
        let speed = card.map_or_else(|| Ok(cards::of_size(vram)), cards::named)?;
        Ok(Self {
            backend: Backend::cuda(),
            device_bytes: vram,
            is_open: false,
            host_bytes: ram.map_or_else(|| smaller("ram", memory::free(&Device::Cpu), None), Ok)?,
            speed: Some(speed),
            processor: Some(Speed::of_this_processor()?),
        })
    }

    /// An open device, with what is free there and on the host, or less where `vram` and `ram` say so.
    ///
    /// # Errors
    /// [`Error::Request`] if nobody knows what is free and no size is given, or if a size is given for memory that
    /// the device has not.
    pub fn of_device(device: &Device, vram: Option<u64>, ram: Option<u64>) -> Result<Self, Error> {
        let backend = Backend::of(device);
        if vram.is_some() && backend == Backend::Cpu {
            let reason = "the processor has none of its own, ram is what limits it".into();
            return Err(Error::Request { parameter: "vram", reason });
        }
        let host_bytes = smaller("ram", memory::free(&Device::Cpu), ram)?;
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

fn smaller(parameter: &'static str, free: Option<u64>, wished: Option<u64>) -> Result<u64, Error> {
    let unknown =
        || Error::Request { parameter, reason: "nobody says what is free, so a size is needed".into() };
    match (free, wished) {
        (Some(free), Some(wished)) => Ok(free.min(wished)),
        (free, wished) => free.or(wished).ok_or_else(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_what_is_free_and_what_is_wished_counts() {
        let smaller = |free, wished| smaller("vram", free, wished).map_err(|error| error.to_string());
        assert_eq!(smaller(Some(7), Some(5)), Ok(5));
        assert_eq!(smaller(Some(7), Some(9)), Ok(7));
        assert_eq!((smaller(Some(7), None), smaller(None, Some(5))), (Ok(7), Ok(5)));
        assert_eq!(smaller(None, None), Err("vram: nobody says what is free, so a size is needed".into()));
    }

    #[test]
    fn the_processor_has_no_memory_but_the_hosts() {
        let hardware = Hardware::of_device(&Device::Cpu, None, Some(1 << 30)).unwrap();
        assert_eq!((hardware.device_bytes, hardware.host_bytes), (1 << 30, 1 << 30));
        let speed = hardware.speed.unwrap();
        assert!(speed.products > 1e8 && speed.memory > 1e7, "{speed:?}");
        assert!(Hardware::of_device(&Device::Cpu, Some(1 << 30), None).is_err());
    }
}
