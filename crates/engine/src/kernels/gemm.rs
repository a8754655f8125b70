//! Matrix products in the terms of cuBLASLt, as plain data: `D = A^T B`, times a factor, plus what is added, then GELU.
//!
//! cuBLASLt reads matrices column by column. A matrix (rows, columns) that lies row by row is one of (columns, rows) to
//! it. A layer's `y = x W^T` with `x` (tokens, in), `W` (out, in) and `y` (tokens, out), all row by row, is therefore
//! computed as its transpose `y^T = W x^T`: A is `W` as (in, out), which the product transposes; B is `x` as (in, tokens);
//! D is `y` as (out, tokens). A bias with one number for each row of D has one for each output, which is the layer's.
//! Numbers of eight bits have kernels for this form alone ("TN").

use candle_core::{DType, Tensor};

/// How a matrix lies in memory column by column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnMajor {
    /// Numbers of a column.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Numbers from the first of a column to the first of the next.
    pub leading: usize,
}

/// The three matrices of `D = A^T B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layouts {
    /// The weights.
    pub a: ColumnMajor,
    /// The input.
    pub b: ColumnMajor,
    /// The output.
    pub d: ColumnMajor,
}

impl Layouts {
    /// Those of a layer's product of `x` (tokens, in) and weights (out, in), both row by row with as many numbers from
    /// one row to the next as their stride says. The rows of the output (tokens, out) lie side by side.
    pub fn of(tokens: usize, (out, into): (usize, usize), x_stride: usize, weight_stride: usize) -> Self {
        Self {
            a: ColumnMajor { rows: into, columns: out, leading: weight_stride },
            b: ColumnMajor { rows: into, columns: tokens, leading: x_stride },
            d: ColumnMajor { rows: out, columns: tokens, leading: out },
        }
    }
}

/// The type of the numbers of A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operands {
    /// bfloat16.
    Bf16,
    /// float16.
    F16,
    /// Codes of e4m3, one byte each.
    E4m3,
    /// Integers, one byte each. Sums are integers of 32 bits, and so is D.
    Int8,
}

impl Operands {
    /// The type of 16 bits that a tensor has.
    pub(super) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::BF16 => Some(Self::Bf16),
            DType::F16 => Some(Self::F16),
            _ => None,
        }
    }
}

/// A call of cuBLASLt: `D = f(factor * scale * A^T B + D' + bias)`, where D' is what D held, or nothing. Sums are in
/// float32; D is rounded once.
#[derive(Debug, Clone)]
pub struct Gemm {
    /// The matrices.
    pub layouts: Layouts,
    /// The type of their numbers.
    pub operands: Operands,
    /// A: the weights, from their first number on.
    pub weight: Tensor,
    /// B: the input, from its first number on.
    pub x: Tensor,
    /// A factor of the product.
    pub factor: f32,
    /// A further factor, on the device, in float32: the scale of B's codes.
    pub scale: Option<Tensor>,
    /// One number for each row of D, of D's type.
    pub bias: Option<Tensor>,
    /// Whether D' counts.
    pub adds: bool,
    /// Whether `f` is GELU in its tanh form; else it changes nothing.
    pub gelu: bool,
}
