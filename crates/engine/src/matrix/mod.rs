//! Weight matrices as they are stored, and the linear layers over them.
//!
//! A [`Matrix`] keeps its numbers in the type of its file or its [`Tier`]; a [`Linear`] adds a bias and the side
//! branches of LoRAs. Products with quantised numbers can still be exact: the numbers are turned into the compute type,
//! a band of rows at a time, just before the multiplication. [`rule`] decides when blocks are multiplied as they are
//! instead.

mod branch;
mod by_products;
mod checks;
mod fp8;
mod int8;
mod linear;
mod look_up;
mod product;
mod quantised;
pub mod rule;
mod tier;

use candle_core::quantized::QStorage;
use candle_core::{DType, Device, Result, Tensor, bail};

pub use self::branch::Branch;
pub use self::by_products::Compute;
pub use self::fp8::Fp8;
pub use self::int8::Int8;
pub use self::linear::Linear;
pub use self::product::{CPU_SCRATCH_BYTES, SCRATCH_BYTES};
pub use self::quantised::Quantised;
pub use self::rule::Activations;
pub use self::tier::Tier;
use crate::replace::{HasTensors, Replace, ToDevice};
use crate::weights::StoredType;

/// A weight matrix (out, in) in its stored type.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// bf16, f16 or f32: the compute type.
    Dense(Tensor),
    /// One byte per weight and one scale per matrix.
    Fp8(Fp8),
    /// One byte per weight and one scale per row.
    Int8(Int8),
    /// Blocks of ggml.
    Quantised(Quantised),
}

impl Matrix {
    /// A matrix from its bytes in a file. `dtype` is the compute type: plain floats are cast to it, eight-bit floats
    /// and blocks stay as they are. `scale` is the factor that a file has for eight-bit floats: a weight is scale times
    /// number.
    ///
    /// # Errors
    /// If the bytes are not those of such a matrix, if its type is not floating point, if it has a scale that its type
    /// does not allow, or if an eight-bit number or the scale is not finite.
    pub fn from_bytes(
        stored: StoredType,
        (rows, columns): (usize, usize),
        bytes: &[u8],
        scale: Option<f32>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        check_bytes(stored, (rows, columns), bytes.len())?;
        if scale.is_some() && !stored.is_fp8() {
            bail!("a matrix of {stored} has no scale of its own");
        }
        if stored.quantised().is_some() {
            return Quantised::from_bytes(stored, (rows, columns), bytes, device).map(Self::Quantised);
        }
        if stored.is_fp8() {
            let scale = scale.unwrap_or(1.0);
            return Fp8::from_bytes(stored, (rows, columns), bytes, scale, dtype, device).map(Self::Fp8);
        }
        let Some(plain) = plain_float(stored) else { bail!("{stored} is not a type for a weight matrix") };
        // Cast on the host, because the device may not have room for both.
        let first = if plain == dtype { device } else { &Device::Cpu };
        let weight = Tensor::from_raw_buffer(bytes, plain, &[rows, columns], first)?;
        Ok(Self::Dense(weight.to_dtype(dtype)?.to_device(device)?))
    }

    /// A matrix of blocks that candle has already loaded.
    ///
    /// # Errors
    /// If the blocks are not those of such a matrix.
    pub(crate) fn from_blocks(stored: StoredType, shape: (usize, usize), blocks: QStorage) -> Result<Self> {
        let matrix = Quantised::from_storage(stored, shape, blocks)?;
        check_bytes(stored, shape, matrix.blocks().storage_size_in_bytes())?;
        Ok(Self::Quantised(matrix))
    }

    /// Converts float weights (out, in) to a tier. [`Tier::Bf16`] means the compute type `dtype`.
    ///
    /// # Errors
    /// If `weight` is not a matrix, has rows that are not whole blocks of the tier's type, or a number that is not
    /// finite.
    pub fn from_tensor(weight: &Tensor, tier: Tier, dtype: DType, device: &Device) -> Result<Self> {
        weight.dims2()?;
        match tier.stored() {
            None => Ok(Self::Dense(weight.to_dtype(dtype)?.to_device(device)?)),
            Some(StoredType::I8) => Int8::from_tensor(weight, dtype, device).map(Self::Int8),
            Some(stored) if stored.is_fp8() => {
                let fp8 = Fp8::from_tensor(weight, dtype, device).map(Self::Fp8)?;
                Ok(if tier.rounds_activations() { fp8.with_activations(Activations::Rounded) } else { fp8 })
            }
            Some(stored) => Quantised::from_tensor(weight, stored, device).map(Self::Quantised),
        }
    }

    /// The same weights in another tier, on the same device; unchanged if they are in it already.
    ///
    /// # Errors
    /// As [`Matrix::from_tensor`].
    pub fn to_tier(&self, tier: Tier, dtype: DType) -> Result<Self> {
        match self {
            Self::Dense(weight) => Self::from_tensor(weight, tier, dtype, weight.device()),
            _ if self.tier() == Some(tier) => Ok(self.clone()),
            _ => Self::from_tensor(&self.dequantise(DType::F32)?, tier, dtype, &self.device()),
        }
    }

    /// Sets what products may do to activations; has an effect on blocks and on eight-bit floats.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        match self {
            Self::Quantised(blocks) => Self::Quantised(blocks.with_activations(activations)),
            Self::Fp8(fp8) => Self::Fp8(fp8.with_activations(activations)),
            Self::Dense(_) | Self::Int8(_) => self,
        }
    }

    /// What products may do to activations.
    pub fn activations(&self) -> Activations {
        match self {
            Self::Quantised(blocks) => blocks.activations(),
            Self::Fp8(fp8) => fp8.activations(),
            Self::Dense(_) => Activations::Exact,
            Self::Int8(_) => Activations::Rounded,
        }
    }

    /// Whether products may round activations to e4m3.
    fn may_round_to_fp8(&self) -> bool {
        self.stored() == StoredType::F8E4M3 && self.activations() == Activations::Rounded
    }

    /// `x` (.., in) times the transpose of the weights: (.., out), in the type of `x`. For `x` (samples, tokens, in), a
    /// sample's products are computed in the same way as without the others.
    ///
    /// # Errors
    /// If the last dimension of `x` is not `in`, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = self.shape();
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(width) if *width == columns => *width = rows,
            _ => bail!("an input of shape {:?} does not fit a matrix ({rows}, {columns})", x.dims()),
        }
        let flat = x.reshape(((), columns))?;
        let tokens = x.dims().iter().rev().nth(1).copied().unwrap_or(1);
        let product = match self {
            Self::Dense(weight) => product::multiply(&flat.to_dtype(weight.dtype())?, weight)?,
            Self::Fp8(fp8) => fp8.multiply(&flat)?,
            Self::Int8(int8) => int8.multiply(&flat)?,
            Self::Quantised(blocks) => blocks.multiply(&flat, tokens)?,
        };
        product.to_dtype(x.dtype())?.reshape(shape)
    }

    /// The same numbers on another device.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        self.replaced(&mut ToDevice(device))
    }

    /// The weights (out, in) in a float type, as products use them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn dequantise(&self, dtype: DType) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => weight.to_dtype(dtype),
            Self::Fp8(fp8) => fp8.dequantise(dtype),
            Self::Int8(int8) => int8.dequantise(dtype),
            Self::Quantised(blocks) => blocks.dequantise(dtype),
        }
    }

    /// (out, in).
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Dense(weight) => (weight.dims()[0], weight.dims()[1]),
            Self::Fp8(fp8) => fp8.shape(),
            Self::Int8(int8) => int8.shape(),
            Self::Quantised(blocks) => blocks.shape(),
        }
    }

    /// The type that its numbers are stored in.
    pub fn stored(&self) -> StoredType {
        match self {
            Self::Dense(weight) => match weight.dtype() {
                DType::BF16 => StoredType::BF16,
                DType::F16 => StoredType::F16,
                _ => StoredType::F32,
            },
            Self::Fp8(fp8) => fp8.stored(),
            Self::Int8(_) => StoredType::I8,
            Self::Quantised(blocks) => blocks.stored(),
        }
    }

    /// Its tier; None for blocks that belong to no tier.
    pub fn tier(&self) -> Option<Tier> {
        Tier::of(self.stored())
    }

    /// The device that it is on.
    pub fn device(&self) -> Device {
        match self {
            Self::Dense(weight) => weight.device().clone(),
            Self::Fp8(fp8) => fp8.device().clone(),
            Self::Int8(int8) => int8.device().clone(),
            Self::Quantised(blocks) => blocks.device(),
        }
    }

    /// Bytes that it takes between products, including the second copy that candle makes of blocks at their first
    /// product with [`Activations::Rounded`].
    pub fn bytes(&self) -> u64 {
        let plain = self.stored().bytes(&[self.shape().0, self.shape().1]).unwrap_or(u64::MAX);
        match self {
            Self::Dense(_) | Self::Fp8(_) => plain,
            Self::Int8(_) => plain + int8_scale_bytes(self.shape().0),
            Self::Quantised(blocks) => plain + blocks.repacked_bytes(),
        }
    }
}

impl HasTensors for Matrix {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        match self {
            Self::Dense(weight) => Ok(Self::Dense(by.tensor(weight)?)),
            Self::Fp8(fp8) => fp8.replaced(by).map(Self::Fp8),
            Self::Int8(int8) => int8.replaced(by).map(Self::Int8),
            Self::Quantised(blocks) => blocks.replaced(by).map(Self::Quantised),
        }
    }
}

/// Bytes of the scales of a matrix of integers with so many rows.
pub(crate) fn int8_scale_bytes(rows: usize) -> u64 {
    (rows * size_of::<f32>()) as u64
}

/// The float type for a stored type of plain numbers that weights may have.
fn plain_float(stored: StoredType) -> Option<DType> {
    match stored {
        StoredType::BF16 => Some(DType::BF16),
        StoredType::F16 => Some(DType::F16),
        StoredType::F32 => Some(DType::F32),
        StoredType::F64 => Some(DType::F64),
        _ => None,
    }
}

fn check_bytes(stored: StoredType, (rows, columns): (usize, usize), bytes: usize) -> Result<()> {
    if rows == 0 || columns == 0 {
        bail!("a matrix ({rows}, {columns}) has no numbers");
    }
    checks::check_rows(stored, columns)?;
    match stored.bytes(&[rows, columns]) {
        Some(expected) if expected == bytes as u64 => Ok(()),
        Some(expected) => {
            bail!("a matrix ({rows}, {columns}) of {stored} takes {expected} bytes, not {bytes}")
        }
        None => bail!("a matrix ({rows}, {columns}) of {stored} is too large"),
    }
}
