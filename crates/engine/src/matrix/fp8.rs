//! Eight-bit floating point weights.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::Activations;
use super::look_up::look_up;
use super::product::{band_rows, multiply_in_bands};
use crate::replace::{HasTensors, Replace};
use crate::weights::StoredType;

/// The largest number of e4m3.
const E4M3_MAX: f32 = 448.0;

/// A matrix (out, in) with one byte per weight, e4m3 or e5m2, and one scale.
///
/// A product looks weights up in a table with the number for each of the 256 codes. The scale is in the table, applied
/// in f32 before the single rounding to the compute type: each weight is the number of that type that is nearest to
/// code times scale. Scaling the product instead would round twice, overflow in f16, and touch tokens * out numbers
/// rather than 256. The table needs no eight-bit arithmetic, so it works on every card that has the compute type.
#[derive(Debug, Clone)]
pub struct Fp8 {
    stored: StoredType,
    scale: f32,
    /// (out, in), u8.
    codes: Tensor,
    /// (256), in the compute type.
    table: Tensor,
    activations: Activations,
}

impl Fp8 {
    pub(super) fn from_bytes(
        stored: StoredType,
        shape: (usize, usize),
        bytes: &[u8],
        scale: f32,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if !scale.is_finite() {
            bail!("the scale of a matrix is {scale}");
        }
        // On the GPU, candle's lookup reads index 255, which is a NaN, as "no index" and gives zero.
        let top = if stored == StoredType::F8E5M2 { 0x7c } else { 0x7f };
        let broken = |row: &[u8]| row.iter().fold(false, |any, code| any | (code & top == top));
        if let Some(row) = bytes.chunks(shape.1).position(broken) {
            bail!("row {row} of a matrix {shape:?} of {stored} has a number that is not finite");
        }
        let codes = Tensor::from_raw_buffer(bytes, DType::U8, &[shape.0, shape.1], device)?;
        let activations = Activations::default();
        Ok(Self { stored, scale, codes, table: table(stored, scale, dtype, device)?, activations })
    }

    pub(super) fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    pub(super) fn activations(&self) -> Activations {
        self.activations
    }

    /// Rounds weights to e4m3, with the scale that makes the largest one 448.
    pub(super) fn from_tensor(weight: &Tensor, dtype: DType, device: &Device) -> Result<Self> {
        let values = super::checks::on_host(weight)?;
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        // For smaller values the scale would be subnormal, and dividing by it not finite.
        let scale = if largest < E4M3_MAX * f32::MIN_POSITIVE { 1.0 } else { largest / E4M3_MAX };
        let codes: Vec<u8> = values.iter().map(|value| code(value / scale)).collect();
        Self::from_bytes(StoredType::F8E4M3, weight.dims2()?, &codes, scale, dtype, device)
    }

    /// The scale of all numbers.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The codes as a file stores them: (out, in), u8.
    pub fn codes(&self) -> &Tensor {
        &self.codes
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        (self.codes.dims()[0], self.codes.dims()[1])
    }

    pub(super) fn stored(&self) -> StoredType {
        self.stored
    }

    pub(super) fn device(&self) -> &Device {
        self.codes.device()
    }

    pub(super) fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(self.table.dtype())?;
        let at_once = band_rows(self.shape(), x.device().location());
        multiply_in_bands(&x, self.shape().0, at_once, |start, count| {
            look_up(&self.codes.narrow(0, start, count)?, &self.table)
        })
    }

    /// Whether a product converts all rows in one piece.
    pub(super) fn is_converted_at_once(&self) -> bool {
        band_rows(self.shape(), self.device().location()) >= self.shape().0
    }

    /// Some rows in the compute type, if all are converted in one piece.
    pub(super) fn rows_as(&self, rows: &Range<usize>, dtype: DType) -> Result<Option<Tensor>> {
        if !self.is_converted_at_once() || dtype != self.table.dtype() {
            return Ok(None);
        }
        look_up(&self.codes.narrow(0, rows.start, rows.len())?, &self.table).map(Some)
    }

    pub(super) fn dequantise(&self, dtype: DType) -> Result<Tensor> {
        look_up(&self.codes, &table(self.stored, self.scale, dtype, self.device())?)
    }
}

impl HasTensors for Fp8 {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { codes: by.tensor(&self.codes)?, table: by.tensor(&self.table)?, ..*self })
    }
}

/// The number for each code, times `scale`.
fn table(stored: StoredType, scale: f32, dtype: DType, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = (0..=255).map(|code| value(stored, code) * scale).collect();
    Tensor::new(values, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// The number for a code (arXiv 2209.05433, table 1): e4m3 has no infinities and one NaN of each sign; e5m2 follows
/// IEEE.
fn value(stored: StoredType, code: u8) -> f32 {
    let (mantissa_bits, bias) = if stored == StoredType::F8E5M2 { (2, 15) } else { (3, 7) };
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    let magnitude = code & 0x7f;
    match (stored, magnitude) {
        (StoredType::F8E5M2, 0x7c) => return sign * f32::INFINITY,
        (StoredType::F8E5M2, 0x7d..) | (_, 0x7f) => return f32::NAN,
        _ => {}
    }
    let exponent = i32::from(magnitude >> mantissa_bits);
    let mantissa = f32::from(magnitude & ((1 << mantissa_bits) - 1)) / f32::from(1u8 << mantissa_bits);
    // Subnormal numbers have no leading one, and the exponent of the smallest normal numbers.
    let (leading, exponent) = if exponent == 0 { (0.0, 1) } else { (1.0, exponent) };
    sign * (leading + mantissa) * f32::from_bits(((exponent - bias + 127) as u32) << 23)
}

/// The code of the e4m3 number nearest to `value`, the even one of two; values beyond 448 become 448.
fn code(value: f32) -> u8 {
    const SMALLEST_NORMAL: f32 = 1.0 / 64.0;
    /// Bits of the f32 mantissa that e4m3 does not have.
    const DROPPED: u32 = 20;
    /// Difference of the exponent biases of f32 and e4m3, shifted to the place of an e4m3 exponent.
    const REBIAS: u32 = (127 - 7) << 3;
    let magnitude = value.abs().min(E4M3_MAX);
    let code = if magnitude < SMALLEST_NORMAL {
        (magnitude * 512.0).round_ties_even() as u8
    } else {
        let bits = magnitude.to_bits();
        let even = (bits >> DROPPED) & 1;
        (((bits + (1 << (DROPPED - 1)) - 1 + even) >> DROPPED) - REBIAS) as u8
    };
    if value.is_sign_negative() { code | 0x80 } else { code }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Results of `ml_dtypes` for all codes and for numbers between them.
    fn recorded() -> HashMap<String, Tensor> {
        let file = include_bytes!("../../tests/fixtures/ggml/fp8.safetensors");
        candle_core::safetensors::load_buffer(file, &Device::Cpu).unwrap()
    }

    #[test]
    fn every_code_has_the_value_of_ml_dtypes() {
        let recorded = recorded();
        for stored in [StoredType::F8E4M3, StoredType::F8E5M2] {
            let expected: Vec<f32> = recorded[&format!("{stored}.values")].to_vec1().unwrap();
            for (code, expected) in expected.into_iter().enumerate() {
                let ours = value(stored, code as u8);
                let same = ours.to_bits() == expected.to_bits() || (ours.is_nan() && expected.is_nan());
                assert!(same, "{stored} {code:#04x}: {ours} instead of {expected}");
            }
        }
    }

    #[test]
    fn numbers_get_the_code_next_to_them() {
        let recorded = recorded();
        let written: Vec<f32> = recorded["fp8_e4m3.written"].to_vec1().unwrap();
        let codes: Vec<u8> = recorded["fp8_e4m3.codes"].to_vec1().unwrap();
        for (number, expected) in written.into_iter().zip(codes) {
            assert_eq!(code(number), expected, "{number}");
        }
        assert_eq!((code(1e9), code(-449.0)), (0x7e, 0xfe), "beyond the largest");
    }

    #[test]
    fn the_largest_weight_becomes_the_largest_code() {
        let weight = Tensor::new(&[[0.5f32, -0.02, 0.0], [0.25, 0.1, -0.3]], &Device::Cpu).unwrap();
        let fp8 = Fp8::from_tensor(&weight, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(fp8.scale(), 0.5 / 448.0);
        assert_eq!(fp8.codes().to_vec2::<u8>().unwrap()[0][0], 0x7e);
        for tiny in [0.0, f32::MIN_POSITIVE] {
            let weight = Tensor::new(&[[tiny, tiny]], &Device::Cpu).unwrap();
            let fp8 = Fp8::from_tensor(&weight, DType::F32, &Device::Cpu).unwrap();
            assert_eq!(fp8.dequantise(DType::F32).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 0.0]]);
        }
    }
}
