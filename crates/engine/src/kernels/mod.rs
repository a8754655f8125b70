//! Own kernels for CUDA devices: each operation between a step's matrix products in one pass.
//!
//! [`calls`] turns an operation on tensors into a [`Work`]: which kernels run, with which geometry and arguments. A work
//! is plain data, so that tests run the same work on the host, from the same source. On a device, NVRTC compiles
//! [`SOURCE`] for its capability, from 8.0 on. A kernel is used only after it was compared with the reference formula
//! on that very device (`trust`); until then, and for types and sizes without a kernel, candle's operations do the
//! work.

pub mod calls;
#[cfg(feature = "cuda")]
mod cuda;
mod on_device;

use candle_core::{DType, Tensor};

#[cfg(feature = "cuda")]
pub(crate) use self::cuda::{compute, trust};
pub(crate) use self::on_device::on_device;

/// The source of all kernels.
pub const SOURCE: &str = concat!(
    include_str!("device.cuh"),
    include_str!("elements.cuh"),
    include_str!("attention.cu"),
    include_str!("attention_f32.cu"),
    include_str!("split_norm_rotate.cu"),
    include_str!("modulation.cu"),
    include_str!("group_norm.cu"),
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
}

impl Kernel {
    /// The name in the source for values of a type; None if there is no such kernel.
    pub fn name(self, dtype: DType) -> Option<String> {
        let (name, any) = match self {
            Self::Attend => ("attend", true),
            Self::SplitNormRotate => ("split_norm_rotate", true),
            Self::ModulatedNorm => ("modulated_norm", true),
            Self::GatedAdd => ("gated_add", true),
            Self::GroupMoments => ("group_moments", false),
            Self::GroupNorm => ("group_norm", false),
        };
        let suffix = match dtype {
            DType::F32 => "f32",
            DType::BF16 if any => "bf16",
            DType::F16 if any => "f16",
            _ => return None,
        };
        Some(format!("{name}_{suffix}"))
    }
}

/// Calls of kernels that together write one new tensor, every value of it.
#[derive(Debug, Clone)]
pub struct Work {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: DType,
    /// In their order.
    pub calls: Vec<Call>,
}

/// A call of a kernel.
#[derive(Debug, Clone)]
pub struct Call {
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
