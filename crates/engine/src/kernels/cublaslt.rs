//! Matrix products by cuBLASLt.
//!
//! Sums are in float32 throughout. Eight-bit floats have a faster mode on Hopper whose sums are less precise: it stays off.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda::cudarc::cublaslt::sys;
use candle_core::cuda::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr as _, DevicePtrMut as _, DeviceRepr,
};
use candle_core::{CudaDevice, DType, Error, Result, Storage, Tensor, bail};

use super::gemm::{ColumnMajor, Gemm, Layouts, Operands};
use super::products::ALIGNMENT;

/// Most bytes of a product's working memory: what NVIDIA recommends for Hopper. It is taken from candle's memory pool
/// when an algorithm needs it, and given back.
const WORKSPACE_BYTES: usize = 32 << 20;

/// `CUBLAS_OP_T`.
const TRANSPOSED: i32 = 1;

/// What an algorithm depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    device: usize,
    layouts: Layouts,
    operands: Operands,
    out: DType,
    has_bias: bool,
    gelu: bool,
    adds: bool,
}

/// Handles and chosen algorithms of all devices.
#[derive(Default)]
struct Library {
    handles: HashMap<usize, Handle>,
    algorithms: HashMap<Key, sys::cublasLtMatmulHeuristicResult_t>,
}

static LIBRARY: LazyLock<Mutex<Library>> = LazyLock::new(Mutex::default);

#[derive(Clone, Copy)]
struct Handle(sys::cublasLtHandle_t);

// SAFETY: a handle may be used from any thread, which cuBLASLt promises.
#[expect(unsafe_code, reason = "a handle is a pointer")]
unsafe impl Send for Handle {}

/// Computes a product into `output`, all of it.
///
/// # Errors
/// If cuBLASLt has no algorithm for it, or the device fails.
pub(super) fn multiply<T: DeviceRepr>(
    gemm: &Gemm,
    output: &mut CudaSlice<T>,
    out: DType,
    device: &CudaDevice,
) -> Result<()> {
    let stream = device.cuda_stream();
    let layouts = gemm.layouts;
    if output.len() < layouts.d.leading * layouts.d.columns {
        bail!("a product does not fit its output");
    }
    let (weight, x) = (address(&gemm.weight, &stream)?, address(&gemm.x, &stream)?);
    let bias = gemm.bias.as_ref().map(|bias| address(bias, &stream)).transpose()?;
    let scale = gemm.scale.as_ref().map(|scale| address(scale, &stream)).transpose()?;
    let description = Description::new(gemm, out, bias, scale).map_err(fault)?;
    let matrices = [
        Matrix::new(operand(gemm.operands), layouts.a).map_err(fault)?,
        Matrix::new(operand(gemm.operands), layouts.b).map_err(fault)?,
        Matrix::new(result_type(out)?, layouts.d).map_err(fault)?,
    ];
    let key = Key {
        device: stream.context().ordinal(),
        layouts,
        operands: gemm.operands,
        out,
        has_bias: gemm.bias.is_some(),
        gelu: gemm.gelu,
        adds: gemm.adds,
    };
    let (handle, chosen) = algorithm(key, &description, &matrices)?;
    // SAFETY: an algorithm writes its working memory before it reads it.
    #[expect(unsafe_code, reason = "zeros would be one more pass")]
    let mut workspace = match chosen.workspaceSize {
        0 => None,
        bytes => Some(unsafe { device.alloc::<u8>(bytes)? }),
    };
    let (working, _guard) = workspace.as_mut().map(|memory| memory.device_ptr_mut(&stream)).unzip();
    let (d, _guard) = output.device_ptr_mut(&stream);
    let (alpha, beta) = (gemm.factor, if gemm.adds { 1f32 } else { 0.0 });
    // Products of integers have integer factors.
    let whole = [1i32, i32::from(gemm.adds)];
    let factors: [*const c_void; 2] = match gemm.operands {
        Operands::Int8 => [(&raw const whole[0]).cast(), (&raw const whole[1]).cast()],
        _ => [(&raw const alpha).cast(), (&raw const beta).cast()],
    };
    let [a_layout, b_layout, d_layout] = &matrices;
    // SAFETY: `products` has checked that A, B and the bias have the numbers that the layouts speak of, the output's
    // length was checked above, and all live until the call is in the stream; the stream frees none of them earlier.
    #[expect(unsafe_code, reason = "cuBLASLt takes pointers")]
    let done = unsafe {
        result::matmul(
            handle.0,
            description.0,
            factors[0],
            factors[1],
            weight as *const c_void,
            a_layout.0,
            x as *const c_void,
            b_layout.0,
            d as *const c_void,
            d_layout.0,
            d as *mut c_void,
            d_layout.0,
            &raw const chosen.algo,
            working.map_or(null_mut(), |address| address as *mut c_void),
            chosen.workspaceSize,
            stream.cu_stream().cast(),
        )
    };
    done.map_err(fault)
}

/// The algorithm for a product, chosen once for each form of it.
fn algorithm(
    key: Key,
    description: &Description,
    matrices: &[Matrix; 3],
) -> Result<(Handle, sys::cublasLtMatmulHeuristicResult_t)> {
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    let handle = match library.handles.get(&key.device) {
        Some(handle) => *handle,
        None => {
            let handle = Handle(result::create_handle().map_err(fault)?);
            library.handles.insert(key.device, handle);
            handle
        }
    };
    if let Some(chosen) = library.algorithms.get(&key) {
        return Ok((handle, *chosen));
    }
    let preference = Preference::new().map_err(fault)?;
    let [a, b, d] = matrices;
    // SAFETY: all descriptors live, and this call reads no numbers.
    #[expect(unsafe_code, reason = "cuBLASLt takes pointers")]
    let chosen = unsafe {
        result::get_matmul_algo_heuristic(handle.0, description.0, a.0, b.0, d.0, d.0, preference.0)
            .map_err(fault)?
    };
    library.algorithms.insert(key, chosen);
    Ok((handle, chosen))
}

/// The address of a tensor's first number.
fn address(tensor: &Tensor, stream: &CudaStream) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a product's input lies elsewhere") };
    let start = layout.start_offset();
    // The stream is the one that all tensors of this device are computed in, so that nothing has to be waited for.
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.slice(start..).device_ptr(stream).0,
        CudaStorageSlice::BF16(slice) => slice.slice(start..).device_ptr(stream).0,
        CudaStorageSlice::F16(slice) => slice.slice(start..).device_ptr(stream).0,
        CudaStorageSlice::U8(slice) => slice.slice(start..).device_ptr(stream).0,
        _ => bail!("no product reads such numbers"),
    })
}

fn fault(error: CublasError) -> Error {
    Error::msg(format!("cuBLASLt: {error}"))
}

fn operand(operands: Operands) -> sys::cudaDataType {
    match operands {
        Operands::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        Operands::F16 => sys::cudaDataType_t::CUDA_R_16F,
        Operands::E4m3 => sys::cudaDataType_t::CUDA_R_8F_E4M3,
        Operands::Int8 => sys::cudaDataType_t::CUDA_R_8I,
    }
}

fn result_type(dtype: DType) -> Result<sys::cudaDataType> {
    match dtype {
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        DType::F16 => Ok(sys::cudaDataType_t::CUDA_R_16F),
        DType::I32 => Ok(sys::cudaDataType_t::CUDA_R_32I),
        other => bail!("no product writes {other:?}"),
    }
}

type Made<T> = std::result::Result<T, CublasError>;

/// What a product does.
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(gemm: &Gemm, out: DType, bias: Option<u64>, scale: Option<u64>) -> Made<Self> {
        use sys::cublasLtEpilogue_t as Epilogue;
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let (sums, factors) = match gemm.operands {
            Operands::Int8 => (sys::cublasComputeType_t::CUBLAS_COMPUTE_32I, sys::cudaDataType_t::CUDA_R_32I),
            _ => (sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType_t::CUDA_R_32F),
        };
        let this = Self(result::create_matmul_desc(sums, factors)?);
        this.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        let epilogue = match (bias, gemm.gelu) {
            (None, false) => Epilogue::CUBLASLT_EPILOGUE_DEFAULT,
            (None, true) => Epilogue::CUBLASLT_EPILOGUE_GELU,
            (Some(_), false) => Epilogue::CUBLASLT_EPILOGUE_BIAS,
            (Some(_), true) => Epilogue::CUBLASLT_EPILOGUE_GELU_BIAS,
        };
        this.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
        if let Some(bias) = bias {
            this.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
            // By default the type of D, which this is: said because kernels for eight bits have other defaults.
            let bias_type = if out == DType::F16 {
                sys::cudaDataType_t::CUDA_R_16F
            } else {
                sys::cudaDataType_t::CUDA_R_16BF
            };
            this.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type)?;
        }
        if let Some(scale) = scale {
            this.set(Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &scale)?;
        }
        Ok(this)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Made<()> {
        // SAFETY: the descriptor lives, and each attribute is set to a value of its own type and size.
        #[expect(unsafe_code, reason = "cuBLASLt takes pointers")]
        unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        #[expect(unsafe_code, reason = "a descriptor is a pointer")]
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// A matrix of a product.
struct Matrix(sys::cublasLtMatrixLayout_t);

impl Matrix {
    fn new(numbers: sys::cudaDataType, ColumnMajor { rows, columns, leading }: ColumnMajor) -> Made<Self> {
        result::create_matrix_layout(numbers, rows as u64, columns as u64, leading as i64).map(Self)
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        #[expect(unsafe_code, reason = "a descriptor is a pointer")]
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// What an algorithm may take and do.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new() -> Made<Self> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let this = Self(result::create_matmul_pref()?);
        this.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
        // Where a sum is split among blocks, its parts stay in float32.
        let reductions = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        this.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions)?;
        for matrix in [
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            // By default 256, which views of weights do not keep.
            this.set(matrix, &(ALIGNMENT as u32))?;
        }
        Ok(this)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: &T) -> Made<()> {
        // SAFETY: the descriptor lives, and each attribute is set to a value of its own type and size.
        #[expect(unsafe_code, reason = "cuBLASLt takes pointers")]
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        #[expect(unsafe_code, reason = "a descriptor is a pointer")]
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
