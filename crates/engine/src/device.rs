//! Devices and precisions by name.

use candle_core::DeviceLocation;
pub use candle_core::{DType, Device};

use crate::{Error, pool};

/// Opens a device by name: `cpu`, `cuda`, `cuda:1`, `metal`. Devices other than the CPU need a build with the feature
/// of the same name.
///
/// # Errors
/// [`Error::Request`] for any other name and for a device that this program is built without, [`Error::Device`] if the
/// device cannot be opened.
pub fn open(name: &str) -> Result<Device, Error> {
    let (kind, ordinal) = name.split_once(':').unwrap_or((name, "0"));
    let unknown = || Error::Request {
        parameter: "device",
        reason: format!("{name:?} is not one of cpu, cuda, cuda:N, metal"),
    };
    let ordinal: usize = ordinal.parse().map_err(|_| unknown())?;
    match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" if !candle_core::utils::cuda_is_available() => Err(not_built("CUDA", kind)),
        "metal" if !candle_core::utils::metal_is_available() => Err(not_built("Metal", kind)),
        "cuda" => {
            let device = Device::new_cuda(ordinal)?;
            pool::keep_freed(&device)?;
            Ok(device)
        }
        "metal" => Ok(Device::new_metal(ordinal)?),
        _ => Err(unknown()),
    }
}

fn not_built(name: &str, feature: &str) -> Error {
    let reason = format!(
        "this program is built without {name}: one that is built with `--features {feature}` is needed"
    );
    Error::Request { parameter: "device", reason }
}

/// Name of a device, as [`open`] takes it.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Lets float32 products on CUDA round their inputs to TF32 if the compute type has no more bits: bfloat16 has eight,
/// TF32 and float16 have eleven. Rounding then changes only the scaled queries of attention; sums stay in float32.
/// PyTorch's convolutions do the same. Applies to all models of this process.
pub(crate) fn set_products(dtype: DType) {
    candle_core::cuda::set_gemm_reduced_precision_f32(dtype != DType::F32);
}

/// Reads a precision: `f32`, `bf16`, `f16`. None means the device's default: float32 on the CPU, bfloat16 elsewhere.
///
/// # Errors
/// [`Error::Request`] for any other name.
pub fn precision(name: Option<&str>, device: &Device) -> Result<DType, Error> {
    match name {
        None if device.is_cpu() => Ok(DType::F32),
        // Candle's convolutions have no bfloat16 on the CPU.
        Some("bf16") if device.is_cpu() => {
            Err(Error::Request { parameter: "dtype", reason: "the CPU computes in f32 and f16 only".into() })
        }
        None | Some("bf16") => Ok(DType::BF16),
        Some("f32") => Ok(DType::F32),
        Some("f16") => Ok(DType::F16),
        Some(other) => Err(Error::Request {
            parameter: "dtype",
            reason: format!("{other:?} is not one of f32, bf16, f16"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_built_in_is_named_with_its_feature() {
        for (name, built, feature) in [
            ("cuda", candle_core::utils::cuda_is_available(), "cuda"),
            ("cuda:1", candle_core::utils::cuda_is_available(), "cuda"),
            ("metal", candle_core::utils::metal_is_available(), "metal"),
        ] {
            if !built {
                let error = open(name).unwrap_err().to_string();
                assert!(error.starts_with("device: this program is built without "), "{error}");
                assert!(error.contains(&format!("`--features {feature}`")), "{error}");
            }
        }
    }

    #[test]
    fn the_cpu_computes_in_f32_and_f16_only() {
        assert_eq!(precision(None, &Device::Cpu).unwrap(), DType::F32);
        assert_eq!(precision(Some("f16"), &Device::Cpu).unwrap(), DType::F16);
        for refused in ["bf16", "f64"] {
            let error = precision(Some(refused), &Device::Cpu).unwrap_err().to_string();
            assert!(error.starts_with("dtype: "), "{error}");
        }
    }
}
