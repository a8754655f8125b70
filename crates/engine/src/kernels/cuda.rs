//! Kernels on a CUDA device.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, LaunchConfig, PushKernelArg, sys};
use candle_core::cuda::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda::{CudaDType, CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Storage, Tensor, bail};
use half::{bf16, f16};

use super::cublaslt;
use super::{Argument, Call, Kernel, Launch, SOURCE, Work};

/// Name under which candle keeps the loaded kernels of a device.
const MODULE: &str = "uso_kernels";

/// Shared memory that a block gets without asking.
const PLAIN_SHARED_BYTES: u32 = 48 << 10;

/// Trusted kernels: a device's number and the kernel's name.
static TRUSTED: LazyLock<RwLock<HashSet<(usize, String)>>> = LazyLock::new(RwLock::default);

/// The compiled source for each capability, or why it cannot be compiled.
type Compiled = HashMap<(i32, i32), std::result::Result<Arc<str>, String>>;
static COMPILED: LazyLock<RwLock<Compiled>> = LazyLock::new(RwLock::default);

/// Lets operations on this device use a kernel from now on.
pub(crate) fn trust(device: &CudaDevice, kernel: &str) {
    let key = (ordinal(device), kernel.to_owned());
    TRUSTED.write().unwrap_or_else(PoisonError::into_inner).insert(key);
}

/// Whether a device multiplies eight-bit floats: from capability 8.9 on.
pub(crate) fn has_fp8(device: &CudaDevice) -> bool {
    device.cuda_stream().context().compute_capability().is_ok_and(|capability| capability >= (8, 9))
}

pub(super) fn is_trusted(device: &CudaDevice, kernel: Kernel, dtype: DType) -> bool {
    let Some(name) = kernel.name(dtype) else { return false };
    TRUSTED.read().unwrap_or_else(PoisonError::into_inner).contains(&(ordinal(device), name))
}

fn ordinal(device: &CudaDevice) -> usize {
    device.cuda_stream().context().ordinal()
}

/// Does the work on the device that its tensors lie on.
///
/// # Errors
/// If the kernels cannot be compiled, or the device fails.
pub(crate) fn compute(work: &Work, device: &CudaDevice) -> Result<Tensor> {
    match work.dtype {
        DType::F32 => compute_as::<f32>(work, device),
        DType::BF16 => compute_as::<bf16>(work, device),
        DType::F16 => compute_as::<f16>(work, device),
        DType::U8 => compute_as::<u8>(work, device),
        DType::I32 => compute_as::<i32>(work, device),
        other => bail!("no kernel writes {other:?}"),
    }
}

fn compute_as<T: CudaDType + DeviceRepr>(work: &Work, device: &CudaDevice) -> Result<Tensor> {
    // SAFETY: the calls of a work write every value.
    #[expect(unsafe_code, reason = "zeros would be one more pass")]
    let mut output = unsafe { device.alloc::<T>(work.shape.iter().product())? };
    for call in &work.calls {
        match call {
            Call::Kernel(call) => launch(call, &mut output, device)?,
            Call::Product(gemm) => cublaslt::multiply(gemm, &mut output, work.dtype, device)?,
        }
    }
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(output, device.clone()));
    Ok(Tensor::from_storage(storage, work.shape.as_slice(), BackpropOp::none(), false))
}

/// An argument as the driver takes it.
enum Bound<'a> {
    F32(CudaView<'a, f32>),
    Bf16(CudaView<'a, bf16>),
    F16(CudaView<'a, f16>),
    I32(CudaView<'a, i32>),
    Output,
    Integer(i32),
    Float(f32),
}

fn launch<T: DeviceRepr>(call: &Launch, output: &mut CudaSlice<T>, device: &CudaDevice) -> Result<()> {
    let function = device.get_or_load_custom_func(&call.kernel, MODULE, &compiled(device)?)?;
    if call.shared_bytes > PLAIN_SHARED_BYTES {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(attribute, call.shared_bytes.cast_signed()).w()?;
    }
    // Held until the launch.
    let inputs: Vec<_> = call
        .arguments
        .iter()
        .map(|argument| match argument {
            Argument::Input(tensor) => Some(tensor.storage_and_layout()),
            _ => None,
        })
        .collect();
    let bound = call.arguments.iter().zip(&inputs).map(|(argument, input)| match (argument, input) {
        (_, Some((storage, layout))) => view(storage, layout.start_offset()),
        (Argument::Integer(number), _) => Ok(Bound::Integer(*number)),
        (Argument::Float(number), _) => Ok(Bound::Float(*number)),
        _ => Ok(Bound::Output),
    });
    let bound = bound.collect::<Result<Vec<_>>>()?;
    let (mut builder, mut output) = (function.builder(), Some(output));
    for argument in &bound {
        match argument {
            Bound::F32(view) => builder.arg(view),
            Bound::Bf16(view) => builder.arg(view),
            Bound::F16(view) => builder.arg(view),
            Bound::I32(view) => builder.arg(view),
            Bound::Integer(number) => builder.arg(number),
            Bound::Float(number) => builder.arg(number),
            Bound::Output => match output.take() {
                Some(output) => builder.arg(output),
                None => bail!("{} writes more than one tensor", call.kernel),
            },
        };
    }
    let [x, y] = call.grid;
    let config = LaunchConfig {
        grid_dim: (x, y, 1),
        block_dim: (call.threads, 1, 1),
        shared_mem_bytes: call.shared_bytes,
    };
    // SAFETY: `calls` gives each kernel the arguments of its source, in their order and types, and checks shapes and
    // strides; the kernel writes to the output alone, which nobody else holds. Tests run the same calls on the host
    // with an untouchable page behind each tensor.
    #[expect(unsafe_code, reason = "a launch cannot be checked by the compiler")]
    let launched = unsafe { builder.launch(config) };
    launched.w()?;
    Ok(())
}

fn view(storage: &Storage, start: usize) -> Result<Bound<'_>> {
    let Storage::Cuda(storage) = storage else { bail!("a kernel's input lies elsewhere") };
    match &storage.slice {
        CudaStorageSlice::F32(slice) => Ok(Bound::F32(slice.slice(start..))),
        CudaStorageSlice::BF16(slice) => Ok(Bound::Bf16(slice.slice(start..))),
        CudaStorageSlice::F16(slice) => Ok(Bound::F16(slice.slice(start..))),
        CudaStorageSlice::I32(slice) => Ok(Bound::I32(slice.slice(start..))),
        _ => bail!("no kernel reads such values"),
    }
}

/// The kernels for a device's capability, compiled once in a process.
fn compiled(device: &CudaDevice) -> Result<Arc<str>> {
    let capability = device.cuda_stream().context().compute_capability().w()?;
    let known = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(&capability).cloned();
    let compiled = match known {
        Some(compiled) => compiled,
        None => {
            let mut all = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(capability).or_insert_with(|| compile(capability)).clone()
        }
    };
    compiled.map_err(candle_core::Error::msg)
}

fn compile((major, minor): (i32, i32)) -> std::result::Result<Arc<str>, String> {
    if major < 8 {
        return Err(format!("capability {major}.{minor} is below 8.0"));
    }
    let options = vec!["--std=c++17".to_owned(), format!("--gpu-architecture=compute_{major}{minor}")];
    let ptx = compile_ptx_with_opts(SOURCE, CompileOptions { options, ..CompileOptions::default() });
    Ok(ptx.map_err(|error| error.to_string())?.to_src().into())
}
