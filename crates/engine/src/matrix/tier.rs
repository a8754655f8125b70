//! Tiers: how the large matrices of a model are stored.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::kernels::Kernel;
use crate::weights::StoredType;

/// How the large matrices of a model are stored and multiplied, the most precise first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Tier {
    /// The compute type: bfloat16 on a GPU, float32 on the CPU.
    Bf16,
    /// One byte per weight, e4m3 with one scale per matrix.
    Fp8,
    /// As [`Tier::Fp8`]; the input of each product is rounded to e4m3, too ("8-bit weights, 8-bit activations"). Where a
    /// device does not multiply such numbers, it is the same as [`Tier::Fp8`].
    Fp8W8A8,
    /// One byte per weight, integers with one scale per row of the matrix; the input of each product is rounded to integers
    /// with one scale per token. Where a device does not multiply such numbers, weights are converted and inputs stay as
    /// they are.
    Int8W8A8,
    /// 8.5 bits per weight, in blocks of 32.
    Q8_0,
    /// 6.5625 bits per weight, in blocks of 256.
    Q6K,
    /// 4.5 bits per weight, in blocks of 256.
    Q4K,
}

impl Tier {
    /// All tiers, the most precise first.
    pub const ALL: [Self; 7] =
        [Self::Bf16, Self::Fp8, Self::Fp8W8A8, Self::Int8W8A8, Self::Q8_0, Self::Q6K, Self::Q4K];

    /// The stored type of its numbers; None for the compute type, which depends on the device.
    pub const fn stored(self) -> Option<StoredType> {
        match self {
            Self::Bf16 => None,
            Self::Fp8 | Self::Fp8W8A8 => Some(StoredType::F8E4M3),
            Self::Int8W8A8 => Some(StoredType::I8),
            Self::Q8_0 => Some(StoredType::Q8_0),
            Self::Q6K => Some(StoredType::Q6K),
            Self::Q4K => Some(StoredType::Q4K),
        }
    }

    /// The tier that files for it are in.
    pub const fn of_files(self) -> Self {
        match self {
            Self::Fp8W8A8 => Self::Fp8,
            Self::Int8W8A8 => Self::Bf16,
            other => other,
        }
    }

    /// Whether the input of products is rounded to eight bits, where a device multiplies such numbers.
    pub const fn rounds_activations(self) -> bool {
        self.product().is_some()
    }

    /// The kind of products whose input is rounded to eight bits.
    pub(crate) const fn product(self) -> Option<Kernel> {
        match self {
            Self::Fp8W8A8 => Some(Kernel::ProductFp8),
            Self::Int8W8A8 => Some(Kernel::ProductInt8),
            _ => None,
        }
    }

    /// The tier of a stored type, if it has one.
    pub fn of(stored: StoredType) -> Option<Self> {
        match stored {
            StoredType::BF16 | StoredType::F16 | StoredType::F32 => Some(Self::Bf16),
            StoredType::F8E5M2 => Some(Self::Fp8),
            other => Self::ALL.into_iter().find(|tier| tier.stored() == Some(other)),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Fp8W8A8 => "fp8_w8a8",
            Self::Int8W8A8 => "int8_w8a8",
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q4K => "q4_k",
        })
    }
}

impl TryFrom<String> for Tier {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|tier| tier.to_string() == name).ok_or_else(|| Error::Request {
            parameter: "tier",
            reason: format!("{name:?} is not one of {}", Self::ALL.map(|tier| tier.to_string()).join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_read_as_it_is_written() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse::<Tier>().unwrap(), tier);
            let stored = if tier == Tier::Int8W8A8 { tier } else { tier.of_files() };
            assert_eq!(tier.stored().map_or(Some(Tier::Bf16), Tier::of), Some(stored));
            assert_eq!(tier.rounds_activations(), tier != tier.of_files());
        }
        let error = "int8".parse::<Tier>().unwrap_err().to_string();
        assert_eq!(error, "tier: \"int8\" is not one of bf16, fp8, fp8_w8a8, int8_w8a8, q8_0, q6_k, q4_k");
        assert_eq!(Tier::of(StoredType::Q5_0), None);
    }
}
