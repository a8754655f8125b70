//! Weights as integers of eight bits.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::look_up::look_up;
use super::product::{int8_band_rows, multiply_in_bands};
use crate::replace::{HasTensors, Replace};

/// The largest integer used; -128 is left out, so that signs are alike.
const MOST: f32 = 127.0;

/// A matrix (out, in) with one byte per weight and a scale for each row.
#[derive(Debug, Clone)]
pub struct Int8 {
    /// (out, in), u8: integers in two's complement.
    codes: Tensor,
    /// (out), in float32.
    scales: Tensor,
    /// The compute type.
    dtype: DType,
}

impl Int8 {
    /// Rounds weights, with the scale for each row that makes its largest one 127.
    pub(super) fn from_tensor(weight: &Tensor, dtype: DType, device: &Device) -> Result<Self> {
        let values = super::checks::on_host(weight)?;
        let (rows, columns) = weight.dims2()?;
        let mut scales = Vec::with_capacity(rows);
        let mut codes = Vec::with_capacity(rows * columns);
        for row in values.chunks(columns) {
            let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            // For smaller values the scale would be subnormal, and dividing by it not finite.
            let scale = if largest < MOST * f32::MIN_POSITIVE { 1.0 } else { largest / MOST };
            scales.push(scale);
            codes.extend(row.iter().map(|value| code(value / scale)));
        }
        let codes = Tensor::from_raw_buffer(&codes, DType::U8, &[rows, columns], device)?;
        Ok(Self { codes, scales: Tensor::new(scales, device)?, dtype })
    }

    /// The integers, (out, in): u8, negative ones as two's complement.
    pub fn codes(&self) -> &Tensor {
        &self.codes
    }

    /// The scale of each row, (out), in float32.
    pub fn scales(&self) -> &Tensor {
        &self.scales
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        (self.codes.dims()[0], self.codes.dims()[1])
    }

    pub(super) fn device(&self) -> &Device {
        self.codes.device()
    }

    /// The product with the numbers of the compute type, converted a band of rows at a time.
    pub(super) fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(self.dtype)?;
        multiply_in_bands(&x, self.shape().0, int8_band_rows(self.shape()), |start, count| {
            self.numbers(&(start..start + count), self.dtype)
        })
    }

    /// Some rows in the compute type, if they are converted in one piece.
    pub(super) fn rows_as(&self, rows: &Range<usize>, dtype: DType) -> Result<Option<Tensor>> {
        let fits = rows.len() <= int8_band_rows(self.shape()) && dtype == self.dtype;
        if fits { self.numbers(rows, dtype).map(Some) } else { Ok(None) }
    }

    pub(super) fn dequantise(&self, dtype: DType) -> Result<Tensor> {
        self.numbers(&(0..self.shape().0), dtype)
    }

    /// Integer times scale, rounded once to a type.
    fn numbers(&self, rows: &Range<usize>, dtype: DType) -> Result<Tensor> {
        let codes = self.codes.narrow(0, rows.start, rows.len())?;
        let scales = self.scales.narrow(0, rows.start, rows.len())?.unsqueeze(D::Minus1)?;
        let integers = if codes.device().is_cpu() {
            let signed = (0..=255u8).map(|code| f32::from(code.cast_signed())).collect::<Vec<_>>();
            look_up(&codes, &Tensor::new(signed, &Device::Cpu)?)?
        } else {
            // A table would not do: candle's lookup on the GPU reads index 255 as none.
            let plain = codes.to_dtype(DType::F32)?;
            let negative = (plain.ge(128f32)?.to_dtype(DType::F32)? * 256.0)?;
            (plain - negative)?
        };
        integers.broadcast_mul(&scales)?.to_dtype(dtype)
    }
}

impl HasTensors for Int8 {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { codes: by.tensor(&self.codes)?, scales: by.tensor(&self.scales)?, ..*self })
    }
}

/// The integer nearest to `value`, the even one of two, within -127 to 127, as a byte.
fn code(value: f32) -> u8 {
    (value.round_ties_even().clamp(-MOST, MOST) as i8).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_scale_of_its_largest_number() {
        let weight =
            Tensor::new(&[[0.5f32, -0.25, 0.002, 0.0], [-127.0, 1.5, 2.5, 126.4]], &Device::Cpu).unwrap();
        let int8 = Int8::from_tensor(&weight, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(int8.scales().to_vec1::<f32>().unwrap(), [0.5 / 127.0, 1.0]);
        let signed = |code: &u8| code.cast_signed();
        let codes: Vec<Vec<i8>> = int8
            .codes()
            .to_vec2::<u8>()
            .unwrap()
            .iter()
            .map(|row| row.iter().map(signed).collect())
            .collect();
        assert_eq!(codes, [[127, -64, 1, 0], [-127, 2, 2, 126]]);
        let numbers = int8.dequantise(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(numbers[1], [-127.0, 2.0, 2.0, 126.0]);
        assert_eq!(numbers[0][1], -64.0 * (0.5 / 127.0));
        let tiny = Tensor::new(&[[f32::MIN_POSITIVE, 0.0]], &Device::Cpu).unwrap();
        let tiny = Int8::from_tensor(&tiny, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(tiny.dequantise(DType::F32).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 0.0]]);
    }
}
