//! Products as cuBLASLt's documents define them, in float64: matrices lie column by column, `D = A^T B`.

use half::{bf16, f16};
use uso_engine::kernels::Gemm;
use uso_engine::kernels::gemm::{ColumnMajor, Operands};

/// The bytes of a product's tensors.
pub(super) struct Inputs {
    pub(super) weight: Vec<u8>,
    pub(super) x: Vec<u8>,
    pub(super) bias: Option<Vec<u8>>,
    pub(super) scale: Option<Vec<u8>>,
}

/// What D holds afterwards, before it is rounded. `before`, `out`: the numbers of D and the type of its numbers, which
/// the bias has, too.
pub(super) fn multiply(gemm: &Gemm, inputs: &Inputs, before: &[f64], out: Operands) -> Vec<f64> {
    let (a, b) = (numbers(&inputs.weight, gemm.operands), numbers(&inputs.x, gemm.operands));
    let bias = inputs.bias.as_ref().map(|bias| numbers(bias, out));
    let scale = inputs.scale.as_ref().map_or(1.0, |scale| f64::from(first_f32(scale)));
    let factor = scale * f64::from(gemm.factor);
    let layouts = gemm.layouts;
    let (a_at, b_at, d_at) = (layouts.a, layouts.b, layouts.d);
    assert_eq!((a_at.rows, a_at.columns), (b_at.rows, d_at.rows), "{layouts:?}");
    assert_eq!(b_at.columns, d_at.columns, "{layouts:?}");
    let mut d = before.to_vec();
    for column in 0..d_at.columns {
        for row in 0..d_at.rows {
            let sum: f64 = (0..a_at.rows).map(|k| a[at(a_at, k, row)] * b[at(b_at, k, column)]).sum();
            let place = at(d_at, row, column);
            let mut value = factor * sum;
            value += if gemm.adds { d[place] } else { 0.0 };
            value += bias.as_ref().map_or(0.0, |bias| bias[row]);
            d[place] = if gemm.gelu { gelu(value) } else { value };
        }
    }
    d
}

fn at(matrix: ColumnMajor, row: usize, column: usize) -> usize {
    assert!(row < matrix.rows && column < matrix.columns && matrix.leading >= matrix.rows, "{matrix:?}");
    row + column * matrix.leading
}

/// The tanh form.
fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

fn first_f32(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes[..4].try_into().unwrap())
}

pub(super) fn numbers(bytes: &[u8], operands: Operands) -> Vec<f64> {
    let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    match operands {
        Operands::Bf16 => pairs().map(|pair| bf16::from_le_bytes(pair).to_f64()).collect(),
        Operands::F16 => pairs().map(|pair| f16::from_le_bytes(pair).to_f64()).collect(),
        Operands::E4m3 => bytes.iter().map(|code| e4m3(*code)).collect(),
        Operands::Int8 => bytes.iter().map(|code| f64::from(code.cast_signed())).collect(),
    }
}

pub(super) fn rounded(values: &[f64], out: Operands) -> Vec<u8> {
    match out {
        Operands::Bf16 => values.iter().flat_map(|value| bf16::from_f64(*value).to_le_bytes()).collect(),
        Operands::F16 => values.iter().flat_map(|value| f16::from_f64(*value).to_le_bytes()).collect(),
        Operands::E4m3 => panic!("no product writes eight bits"),
        // Integers, whose sums are of 32 bits.
        Operands::Int8 => values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect(),
    }
}

/// Sign, four bits of exponent, three of mantissa; arXiv 2209.05433, table 1.
fn e4m3(code: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
    let size = match exponent {
        15 if code & 7 == 7 => f64::NAN,
        0 => mantissa * 2f64.powi(-9),
        _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
    };
    if code & 0x80 == 0 { size } else { -size }
}
