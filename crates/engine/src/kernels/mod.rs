//! Own kernels for CUDA devices: each operation between a step's matrix products in one pass.
//!
//! [`calls`] turns an operation on tensors into a [`Work`]: which kernels run, with which geometry and arguments. A work
//! is plain data, so that tests run the same work on the host, from the same source. On a device, NVRTC compiles
//! [`SOURCE`] for its capability, from 8.0 on. Matrix products are calls of cuBLASLt ([`products`]), described as plain
//! data too ([`gemm`]). A kernel or a kind of product is used only after it was compared with the reference formula on
//! that very device (`trust`); until then, and for types and sizes without a kernel, candle's operations do the work.

pub mod calls;
#[cfg(feature = "cuda")]
mod cublaslt;
#[cfg(feature = "cuda")]
mod cuda;
pub mod gemm;
mod on_device;
pub mod products;
pub mod rounding;

use candle_core::{DType, Tensor};

#[cfg(feature = "cuda")]
pub(crate) use self::cuda::{compute, has_fp8, trust};
pub use self::gemm::Gemm;
pub(crate) use self::on_device::{is_on, on_device};

/// The source of all kernels.
pub const SOURCE: &str = concat!(
    include_str!("device.cuh"),
    include_str!("elements.cuh"),
    include_str!("attention.cu"),
    include_str!("attention_f32.cu"),
    include_str!("split_norm_rotate.cu"),
    include_str!("modulation.cu"),
    include_str!("group_norm.cu"),
    include_str!("rounding.cu"),
);

/// An operation that has a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Softmax attention.
    Attend,
    /// Splits a projection, norms and rotates queries and keys.
    SplitNormRotate,
    /// Layer norm and modulation.
    ModulatedNorm,
    /// Gate and residual connection.
    GatedAdd,
    /// Means and variances for a group norm.
    GroupMoments,
    /// Group norm of known moments, and SiLU.
    GroupNorm,
    /// A product with a bias, or several that add.
    Product,
    /// The same with GELU.
    ProductGelu,
    /// A product of numbers in e4m3, those of the input rounded to it.
    ProductFp8,
    /// The same with GELU.
    ProductFp8Gelu,
    /// A product of integers of eight bits, those of the input rounded to them, with scales of rows and columns.
    ProductInt8,
    /// The same with GELU.
    ProductInt8Gelu,
}

impl Kernel {
    /// The name for values of a type, which is that of the source if it is a kernel of ours; None if there is no such
    /// kernel.
    pub fn name(self, dtype: DType) -> Option<String> {
        let (name, wide, half) = match self {
            Self::Attend => ("attend", true, true),
            Self::SplitNormRotate => ("split_norm_rotate", true, true),
            Self::ModulatedNorm => ("modulated_norm", true, true),
            Self::GatedAdd => ("gated_add", true, true),
            Self::GroupMoments => ("group_moments", true, false),
            Self::GroupNorm => ("group_norm", true, false),
            Self::Product => ("product", false, true),
            Self::ProductGelu => ("product_gelu", false, true),
            Self::ProductFp8 => ("product_fp8", false, true),
            Self::ProductFp8Gelu => ("product_fp8_gelu", false, true),
            Self::ProductInt8 => ("product_int8", false, true),
            Self::ProductInt8Gelu => ("product_int8_gelu", false, true),
        };
        let exists = if dtype == DType::F32 { wide } else { half };
        Some(format!("{name}_{}", suffix(dtype).filter(|_| exists)?))
    }
}

/// The end of the names of kernels for a type.
fn suffix(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("f32"),
        DType::BF16 => Some("bf16"),
        DType::F16 => Some("f16"),
        _ => None,
    }
}

/// Calls that together write one new tensor, every value of it.
#[derive(Debug, Clone)]
pub struct Work {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: DType,
    /// In their order.
    pub calls: Vec<Call>,
}

/// A call of a kernel of ours, or of cuBLASLt.
#[derive(Debug, Clone)]
pub enum Call {
    /// Of a kernel of ours.
    Kernel(Launch),
    /// Of cuBLASLt.
    Product(Box<Gemm>),
}

/// A call of a kernel.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its name in [`SOURCE`].
    pub kernel: String,
    /// Blocks along x and y.
    pub grid: [u32; 2],
    /// Threads of a block.
    pub threads: u32,
    /// Shared memory of a block, besides what the kernel declares.
    pub shared_bytes: u32,
    /// In the order of the kernel's parameters.
    pub arguments: Vec<Argument>,
}

/// An argument of a kernel.
#[derive(Debug, Clone)]
pub enum Argument {
    /// The address of a tensor's first value. The kernel knows its strides.
    Input(Tensor),
    /// The address of the new tensor.
    Output,
    /// An `int`.
    Integer(i32),
    /// A `float`.
    Float(f32),
}
