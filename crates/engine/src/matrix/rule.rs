//! Decides when blocks are converted to the compute type before a product, and how much memory products take.
//!
//! This needs only shapes, so that a plan can be made from a file's header.

use candle_core::{DType, DeviceLocation};

use super::product::{band_rows, int8_band_rows, int8_scratch_bytes};
use crate::cpu::short;
use crate::weights::StoredType;

/// What a product may do to the activations: with blocks on the CPU, or with eight-bit floats on CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// Nothing: the blocks are converted to float32 first.
    #[default]
    Exact,
    /// Round them to bfloat16, and the blocks too, where the processor multiplies such numbers; else nothing. Measured
    /// with AVX-512, a product of 2,752 tokens then takes three fifths of the time of float32. Its relative L2 error is
    /// below 2.4e-3, whatever the spread of the activations, because each number keeps its own exponent.
    Short,
    /// Round them to eight bits, with one scale for 256 numbers: faster where candle has a packed kernel.
    /// Measured, the relative L2 error of a product is 7e-3 on normal activations, and 3.2e-2 where one
    /// channel in 200 is 30 times as large.
    ///
    /// On CUDA, with weights in e4m3: round them to e4m3 with one scale for all numbers, where the device multiplies such
    /// numbers (Ada and newer). Each number keeps its own exponent: the relative L2 error of a product is about 2.7e-2,
    /// whatever the spread, down to numbers 2^15 times smaller than the largest. With weights as integers: round them to
    /// integers with one scale for each token, where the device multiplies such numbers (Ampere and newer). A few large
    /// numbers of a token then make all others of it coarse.
    Rounded,
}

/// Up to this number of tokens on the CPU, converting blocks costs more than multiplying by them.
pub(super) const FEW_TOKENS: usize = 128;

/// A product with a matrix, described by shapes and types.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Rows of the input.
    pub tokens: usize,
    /// Those of them that belong to one sample. They decide how it is computed: in another way, its numbers would depend
    /// on the samples beside it.
    pub alone: usize,
    /// (out, in) of the matrix.
    pub shape: (usize, usize),
    /// The type of the matrix.
    pub stored: StoredType,
    /// What the product may do to the input, on the CPU and for a matrix of blocks.
    pub activations: Activations,
    /// The type of input and output: the compute type.
    pub dtype: DType,
    /// The device.
    pub place: DeviceLocation,
}

impl Product {
    /// Whether blocks are converted to the compute type first.
    ///
    /// On CUDA both ways multiply at about the same rate, so bytes decide. Dequantising moves 8 more bytes per weight:
    /// f16 is written and read, the compute type is written, and read by cuBLAS. Multiplying blocks as they are takes
    /// the activations through f32. A 16-bit input is read and written as f32 (2 + 4), rounded to eight bits (4 + 1)
    /// and read (1) instead of 2: 10 more bytes. An output is written as f32 and cast (4 + 4 + 2) instead of 2: 8 more.
    /// So blocks are dequantised if
    ///
    /// 8 out in <= tokens (10 in + 8 out),
    ///
    /// which holds for (9216, 3072) from 2,169 tokens on and for (3072, 3072) from 1,366. At 6,016 tokens, 8 bytes per
    /// weight are 0.0007 bytes per operation: on a card of 1 TB/s and 165 TFLOP/s, 11 % of the product's time. These
    /// numbers are calculated, not measured.
    ///
    /// On the CPU, exact products always dequantise. Rounded products do so from 32 tokens on for types without a
    /// packed kernel in candle. Seconds of processor time for (9216, 3072), measured with AVX-512 and VNNI on two
    /// cores:
    ///
    /// | tokens | dense f32 | dequantised, any type | as stored: q8_0, q6_k, q4_k | q5_k | q4_0 |
    /// |---|---|---|---|---|---|
    /// | 64 | 0.11 | 0.14 to 0.17 | 0.02 | 0.08 | 0.21 |
    /// | 512 | 0.36 | 0.40 to 0.42 | 0.11 to 0.16 | 0.63 | 1.74 |
    /// | 1,536 | 0.94 | 1.01 to 1.02 | 0.43 to 0.53 | 2.06 | 5.24 |
    /// | 6,016 | 3.45 | 3.56 to 3.78 | 2.16 to 2.66 | 7.70 | 21.18 |
    ///
    /// Never on Metal, where candle would dequantise on the CPU.
    pub fn dequantise_first(&self) -> bool {
        const FEW: usize = 32;
        let (tokens, out, into) = (self.alone as u128, self.shape.0 as u128, self.shape.1 as u128);
        match self.place {
            DeviceLocation::Cuda { .. } => 8 * out * into <= tokens * (10 * into + 8 * out),
            DeviceLocation::Metal { .. } => false,
            DeviceLocation::Cpu => {
                let packed = repacked_bytes(self.stored, self.shape) > 0;
                self.activations != Activations::Rounded || (!packed && self.alone >= FEW)
            }
        }
    }

    /// Whether blocks and activations are converted to bfloat16.
    pub(super) fn is_short(&self) -> bool {
        let is_asked = self.activations == Activations::Short && self.place == DeviceLocation::Cpu;
        is_asked && self.alone > FEW_TOKENS && short::is_possible(self.shape.1)
    }

    /// Most bytes that it takes besides matrix, input and output.
    pub fn scratch_bytes(&self) -> u64 {
        let (rows, columns) = (self.shape.0 as u64, self.shape.1 as u64);
        let (tokens, size) = (self.tokens as u64, self.dtype.size_in_bytes() as u64);
        let band = band_rows(self.shape, self.place) as u64;
        // Each band is multiplied into a tensor of its own.
        let apart = if band < rows { tokens * band } else { 0 };
        if self.stored.is_fp8() {
            return (band * columns + apart) * size;
        }
        if self.stored == StoredType::I8 {
            let apart = if int8_band_rows(self.shape) < self.shape.0 { tokens * rows } else { 0 };
            return int8_scratch_bytes(self.shape) + apart * size;
        }
        if self.stored.quantised().is_none() {
            return 0;
        }
        let widened = if self.dtype == DType::F32 { 0 } else { 4 * tokens * (columns + rows) };
        if !self.dequantise_first() {
            // Eight-bit blocks of the input take at most 8/7 of a byte per number.
            return widened + tokens * columns * 8 / 7;
        }
        if self.is_short() {
            return short::scratch_bytes(self.tokens, self.shape) + widened;
        }
        match (self.place, band < rows) {
            (DeviceLocation::Cpu, _) => 4 * (band * columns + apart) + widened,
            (_, false) => 4 * band * columns,
            (_, true) => 6 * band * columns + apart * size,
        }
    }
}

/// Bytes of the second copy of blocks (out, in) that candle keeps on this CPU from their first product with
/// [`Activations::Rounded`] on; 0 if it has no packed kernel for them. On processors with AMX the copy of q4_k is
/// larger by two thirds.
pub fn repacked_bytes(stored: StoredType, (rows, columns): (usize, usize)) -> u64 {
    if !rows.is_multiple_of(16) || !columns.is_multiple_of(256) {
        return 0;
    }
    (rows / 16) as u64 * (columns / 256) as u64 * tile_bytes(stored)
}

/// Bytes of 16 rows of 256 numbers in candle's tiles; 0 if this processor has no kernel for them.
#[cfg(target_arch = "x86_64")]
fn tile_bytes(stored: StoredType) -> u64 {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512_vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    let vnni = avx512_vnni || (is_x86_feature_detected!("avxvnni") && avx2);
    match stored {
        StoredType::Q8_0 if vnni => 4352,
        StoredType::Q4K if vnni || avx2 => 3072,
        StoredType::Q6K if vnni || avx2 => 5120,
        _ => 0,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn tile_bytes(_: StoredType) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::super::SCRATCH_BYTES;
    use super::*;

    const CUDA: DeviceLocation = DeviceLocation::Cuda { gpu_id: 0 };

    fn product(tokens: usize, shape: (usize, usize), stored: StoredType, place: DeviceLocation) -> Product {
        let (alone, activations) = (tokens, Activations::Exact);
        Product { tokens, alone, shape, stored, activations, dtype: DType::BF16, place }
    }

    #[test]
    fn many_tokens_pay_for_dequantising_on_cuda() {
        for (shape, enough) in [((9216, 3072), 2169), ((3072, 3072), 1366), ((3072, 15360), 2119)] {
            let first = |tokens| product(tokens, shape, StoredType::Q4K, CUDA).dequantise_first();
            assert!(first(enough) && !first(enough - 1) && !first(1), "{shape:?}");
        }
    }

    #[test]
    fn a_sample_is_computed_as_it_is_alone() {
        let alone = product(1000, (3072, 3072), StoredType::Q4K, CUDA);
        let together = Product { tokens: 4000, ..alone };
        assert!(
            !together.dequantise_first()
                && product(4000, (3072, 3072), StoredType::Q4K, CUDA).dequantise_first()
        );
        assert!(together.scratch_bytes() > alone.scratch_bytes(), "all of them need room");
    }

    #[test]
    fn exact_products_dequantise_on_the_cpu_and_none_do_on_metal() {
        let shape = (3072, 3072);
        for tokens in [1, 6016] {
            let exact = product(tokens, shape, StoredType::Q8_0, DeviceLocation::Cpu);
            assert!(exact.dequantise_first());
            let metal = DeviceLocation::Metal { gpu_id: 0 };
            assert!(!product(tokens, shape, StoredType::Q8_0, metal).dequantise_first());
        }
        let rounded = |tokens, stored| {
            let exact = product(tokens, shape, stored, DeviceLocation::Cpu);
            Product { activations: Activations::Rounded, ..exact }.dequantise_first()
        };
        assert!(!rounded(8, StoredType::Q5_1) && rounded(512, StoredType::Q5_1), "no packed kernel");
        let packed = repacked_bytes(StoredType::Q8_0, shape) > 0;
        assert_eq!(rounded(512, StoredType::Q8_0), !packed);
    }

    #[test]
    fn repacked_copies_are_as_large_as_candles_tiles() {
        let bits = |stored, shape: (usize, usize)| {
            repacked_bytes(stored, shape) as f64 * 8.0 / (shape.0 * shape.1) as f64
        };
        for (stored, expected) in [(StoredType::Q8_0, 8.5), (StoredType::Q4K, 6.0), (StoredType::Q6K, 10.0)] {
            let measured = bits(stored, (3072, 9216));
            assert!(measured == expected || measured == 0.0, "{stored}: {measured}");
            assert_eq!(bits(stored, (3080, 9216)), 0.0, "{stored} in rows that are no sixteens");
        }
        assert_eq!(bits(StoredType::Q5K, (3072, 9216)), 0.0);
    }

    #[test]
    fn scratch_stays_within_its_bound() {
        let linear1 = (21504, 3072);
        let bytes = |stored, shape| product(6016, shape, stored, CUDA).scratch_bytes();
        assert_eq!(bytes(StoredType::BF16, linear1), 0);
        assert_eq!(bytes(StoredType::F8E4M3, linear1), 2 * 21504 * 3072);
        assert_eq!(bytes(StoredType::Q8_0, linear1), 4 * 21504 * 3072);
        assert!(bytes(StoredType::Q8_0, linear1) <= SCRATCH_BYTES as u64);
        // Twice as large as the limit: multiplied in bands, plus the output of one band.
        let band = band_rows((43008, 3072), CUDA) as u64;
        assert!(band * 3072 * 6 <= SCRATCH_BYTES as u64);
        assert_eq!(bytes(StoredType::Q8_0, (43008, 3072)), 6 * band * 3072 + 6016 * band * 2);
    }
}
