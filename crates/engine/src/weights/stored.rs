//! Types of stored numbers.

use std::fmt;

use candle_core::quantized::GgmlDType;

/// The type of a stored tensor: plain numbers, or one of ggml's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of safetensors and ggml")]
pub enum StoredType {
    Bool,
    U8,
    I8,
    I16,
    I32,
    I64,
    F8E4M3,
    F8E5M2,
    F16,
    BF16,
    F32,
    F64,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl StoredType {
    /// Numbers in a block, and bytes of a block; plain numbers are blocks of one.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E4M3 | Self::F8E5M2 => (1, 1),
            Self::I16 | Self::F16 | Self::BF16 => (1, 2),
            Self::I32 | Self::F32 => (1, 4),
            Self::I64 | Self::F64 => (1, 8),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of a tensor of this shape; None if its rows are not whole blocks or the result is too large.
    pub fn bytes(self, shape: &[usize]) -> Option<u64> {
        let (elements, bytes) = self.block();
        if !shape.last().copied().unwrap_or(1).is_multiple_of(elements) {
            return None;
        }
        let all = shape.iter().try_fold(1u64, |product, side| product.checked_mul(*side as u64))?;
        (all / elements as u64).checked_mul(bytes as u64)
    }

    /// Ggml's type of the same name, for blocks of more than one number.
    pub const fn quantised(self) -> Option<GgmlDType> {
        match self {
            Self::Q4_0 => Some(GgmlDType::Q4_0),
            Self::Q4_1 => Some(GgmlDType::Q4_1),
            Self::Q5_0 => Some(GgmlDType::Q5_0),
            Self::Q5_1 => Some(GgmlDType::Q5_1),
            Self::Q8_0 => Some(GgmlDType::Q8_0),
            Self::Q2K => Some(GgmlDType::Q2K),
            Self::Q3K => Some(GgmlDType::Q3K),
            Self::Q4K => Some(GgmlDType::Q4K),
            Self::Q5K => Some(GgmlDType::Q5K),
            Self::Q6K => Some(GgmlDType::Q6K),
            _ => None,
        }
    }

    /// Whether it is an eight-bit floating point type.
    pub const fn is_fp8(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2)
    }

    /// Whether changes can be added to weights without rounding the sum to a coarse grid: bf16, f16, f32 and f64.
    pub const fn is_wide_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F8E4M3 => "fp8_e4m3",
            Self::F8E5M2 => "fp8_e5m2",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2K => "q2_k",
            Self::Q3K => "q3_k",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_in_whole_blocks() {
        assert_eq!(StoredType::BF16.bytes(&[3, 5]), Some(30));
        assert_eq!(StoredType::F32.bytes(&[]), Some(4), "a scalar");
        assert_eq!(StoredType::Q8_0.bytes(&[2, 64]), Some(4 * 34));
        assert_eq!(StoredType::Q4K.bytes(&[64, 128]), None, "a row is no whole block");
        assert_eq!(StoredType::F64.bytes(&[usize::MAX, 4]), None, "more than there can be");
    }

    #[test]
    fn blocks_are_as_large_as_ggml_has_them() {
        use StoredType::{Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
        for stored in [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K] {
            let ggml = stored.quantised().unwrap();
            assert_eq!(stored.block(), (ggml.block_size(), ggml.type_size()), "{stored}");
        }
    }
}
