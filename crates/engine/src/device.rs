//! Where the numbers are kept and in which precision.

use candle_core::DeviceLocation;
pub use candle_core::{DType, Device};

use crate::{Error, pool};

/// Opens a device by name: `cpu`, `cuda`, `cuda:1`, `metal`. Devices other than the CPU need a build
/// with the feature of the same name.
///
/// # Errors
/// [`Error::Request`] for a name that is none of these, [`Error::Device`] if it cannot be had.
pub fn open(name: &str) -> Result<Device, Error> {
    let (kind, ordinal) = name.split_once(':').unwrap_or((name, "0"));
    let unknown = || Error::Request {
        parameter: "device",
        reason: format!("{name:?} is none of cpu, cuda, cuda:N, metal"),
    };
    let ordinal: usize = ordinal.parse().map_err(|_| unknown())?;
    match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" => {
            let device = Device::new_cuda(ordinal)?;
            pool::keep_freed(&device)?;
            Ok(device)
        }
        "metal" => Ok(Device::new_metal(ordinal)?),
        _ => Err(unknown()),
    }
}

/// The name that [`open`] knows a device by.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Lets products in float32 on CUDA round their inputs to TF32 where the compute type has fewer bits anyway: eight in
/// bfloat16, eleven in TF32 and in float16. Such inputs stay as they are, but for a factor on the queries of attention; sums are in
/// float32 as before. PyTorch's convolutions do so, too. For all models of this process.
pub(crate) fn set_products(dtype: DType) {
    candle_core::cuda::set_gemm_reduced_precision_f32(dtype != DType::F32);
}

/// Reads a precision: `f32`, `bf16`, `f16`. None means what suits the device: float32 on the CPU,
/// bfloat16 elsewhere.
///
/// # Errors
/// [`Error::Request`] for any other name.
pub fn precision(name: Option<&str>, device: &Device) -> Result<DType, Error> {
    match name {
        None if device.is_cpu() => Ok(DType::F32),
        // Candle's convolutions have no bfloat16 on the CPU.
        Some("bf16") if device.is_cpu() => {
            Err(Error::Request { parameter: "dtype", reason: "the CPU draws in f32 and f16 only".into() })
        }
        None | Some("bf16") => Ok(DType::BF16),
        Some("f32") => Ok(DType::F32),
        Some("f16") => Ok(DType::F16),
        Some(other) => {
            Err(Error::Request { parameter: "dtype", reason: format!("{other:?} is none of f32, bf16, f16") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_draws_in_what_it_can() {
        assert_eq!(precision(None, &Device::Cpu).unwrap(), DType::F32);
        assert_eq!(precision(Some("f16"), &Device::Cpu).unwrap(), DType::F16);
        for refused in ["bf16", "f64"] {
            let error = precision(Some(refused), &Device::Cpu).unwrap_err().to_string();
            assert!(error.starts_with("dtype: "), "{error}");
        }
    }
}
