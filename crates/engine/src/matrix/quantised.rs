//! Weights in ggml's blocks.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor, bail};

use super::product::{band_rows, multiply_few_tokens, multiply_in_bands};
use super::rule::{Activations, FEW_TOKENS, Product, repacked_bytes};
use crate::cpu::short;
use crate::replace::{HasTensors, Replace};
use crate::weights::StoredType;

/// A matrix (out, in) of ggml's blocks.
#[derive(Debug, Clone)]
pub struct Quantised {
    stored: StoredType,
    shape: (usize, usize),
    blocks: Arc<QTensor>,
    activations: Activations,
}

impl Quantised {
    pub(super) fn from_bytes(
        stored: StoredType,
        shape: (usize, usize),
        bytes: &[u8],
        device: &Device,
    ) -> Result<Self> {
        Self::from_storage(stored, shape, QStorage::from_data(aligned(bytes), device, blocks_of(stored)?)?)
    }

    pub(super) fn from_storage(stored: StoredType, shape: (usize, usize), storage: QStorage) -> Result<Self> {
        Ok(Self::new(stored, shape, QTensor::new(storage, shape)?))
    }

    pub(super) fn from_tensor(weight: &Tensor, stored: StoredType, device: &Device) -> Result<Self> {
        let (shape, ggml) = (weight.dims2()?, blocks_of(stored)?);
        super::checks::check_rows(stored, shape.1)?;
        let weight = Tensor::from_vec(super::checks::on_host(weight)?, shape, &Device::Cpu)?;
        Ok(Self::new(stored, shape, QTensor::quantize_onto(&weight, ggml, device)?))
    }

    fn new(stored: StoredType, shape: (usize, usize), blocks: QTensor) -> Self {
        Self { stored, shape, blocks: Arc::new(blocks), activations: Activations::default() }
    }

    pub(super) fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    pub(super) fn activations(&self) -> Activations {
        self.activations
    }

    /// The blocks as candle has them.
    pub fn blocks(&self) -> &QTensor {
        &self.blocks
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        self.shape
    }

    pub(super) fn stored(&self) -> StoredType {
        self.stored
    }

    pub(super) fn device(&self) -> Device {
        self.blocks.device()
    }

    /// Bytes of the second copy that candle keeps of blocks that are multiplied as they are.
    pub(super) fn repacked_bytes(&self) -> u64 {
        let kept = self.device().is_cpu() && self.activations == Activations::Rounded;
        if kept { repacked_bytes(self.stored, self.shape) } else { 0 }
    }

    /// All rows in a compute type, if a product of `tokens` converts them in one piece.
    pub(super) fn at_once(&self, tokens: usize, dtype: DType) -> Result<Option<Tensor>> {
        let product = self.product((tokens, tokens), dtype);
        let whole = band_rows(self.shape, product.place) >= self.shape.0;
        if whole && product.dequantise_first() { self.dequantise(dtype).map(Some) } else { Ok(None) }
    }

    /// A product of `tokens`, of which `alone` belong to one sample.
    fn product(&self, (tokens, alone): (usize, usize), dtype: DType) -> Product {
        let place = self.device().location();
        Product {
            tokens,
            alone,
            shape: self.shape,
            stored: self.stored,
            activations: self.activations,
            dtype,
            place,
        }
    }

    /// `x` (tokens, in) times the transpose of the weights: (tokens, out). `alone` of the tokens belong to one sample.
    pub(super) fn multiply(&self, x: &Tensor, alone: usize) -> Result<Tensor> {
        // The CPU is fastest in float32, and its kernels for blocks take float32.
        let x = if x.device().is_cpu() { x.to_dtype(DType::F32)? } else { x.clone() };
        let product = self.product((x.dim(0)?, alone), x.dtype());
        if !product.dequantise_first() {
            return x.apply_op1_no_bwd(self.blocks.as_ref());
        }
        if product.is_short() {
            return short::linear(&x, self.shape.0, |start, count| self.rows(start, count));
        }
        if x.device().is_cpu() && product.tokens <= FEW_TOKENS {
            return multiply_few_tokens(&x, self.shape, |start, count| self.rows(start, count));
        }
        self.multiply_in_bands(&x, band_rows(self.shape, product.place))
    }

    fn multiply_in_bands(&self, x: &Tensor, at_once: usize) -> Result<Tensor> {
        multiply_in_bands(x, self.shape.0, at_once, |start, count| {
            if count == self.shape.0 {
                self.dequantise(x.dtype())
            } else {
                self.rows(start, count)?.to_dtype(x.dtype())
            }
        })
    }

    /// `count` rows from `start`, in f32.
    fn rows(&self, start: usize, count: usize) -> Result<Tensor> {
        self.blocks.embedding(&Tensor::arange(start as u32, (start + count) as u32, &self.device())?)
    }

    pub(super) fn dequantise(&self, dtype: DType) -> Result<Tensor> {
        let device = self.device();
        // Half the memory traffic of f32. f16 has three more bits than bf16, and enough range for weights.
        let short = device.is_cuda() && dtype != DType::F32;
        if short { self.blocks.dequantize_f16(&device)? } else { self.blocks.dequantize(&device)? }
            .to_dtype(dtype)
    }
}

impl HasTensors for Quantised {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { blocks: by.blocks(&self.blocks)?, ..self.clone() })
    }
}

fn blocks_of(stored: StoredType) -> Result<GgmlDType> {
    match stored.quantised() {
        Some(ggml) => Ok(ggml),
        None => bail!("{stored} has no blocks"),
    }
}

/// The bytes at an address that is aligned for blocks: ggml's scales have two bytes, and candle panics on odd
/// addresses.
fn aligned(bytes: &[u8]) -> Cow<'_, [u8]> {
    const BLOCK_ALIGNMENT: usize = 2;
    if bytes.as_ptr().align_offset(BLOCK_ALIGNMENT) == 0 {
        Cow::Borrowed(bytes)
    } else {
        Cow::Owned(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::normal;

    #[test]
    fn bands_make_no_difference() {
        let weight = Tensor::from_vec(normal(1, 48 * 256), (48, 256), &Device::Cpu).unwrap();
        let x = Tensor::from_vec(normal(2, 5 * 256), (5, 256), &Device::Cpu).unwrap();
        let blocks = Quantised::from_tensor(&weight, StoredType::Q4K, &Device::Cpu).unwrap();
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let dense = blocks.dequantise(DType::F32).unwrap();
        assert_eq!(numbers(&blocks.rows(32, 16).unwrap()), numbers(&dense.narrow(0, 32, 16).unwrap()));
        let whole = numbers(&x.matmul(&dense.t().unwrap()).unwrap());
        let same = |apart: Tensor, how: &str| {
            for (whole, apart) in whole.iter().zip(numbers(&apart)) {
                assert!((whole - apart).abs() < 1e-3, "{whole} and {apart} in {how}");
            }
        };
        for at_once in [16, 32, 48] {
            same(blocks.multiply_in_bands(&x, at_once).unwrap(), &format!("bands of {at_once}"));
        }
    }

    #[test]
    fn rounding_to_bfloat16_costs_little_whatever_the_spread() {
        // More tokens than are few; one channel is much larger than the others.
        let (tokens, shape) = (FEW_TOKENS + 3, (70, 512));
        let weight = Tensor::from_vec(normal(5, shape.0 * shape.1), shape, &Device::Cpu).unwrap();
        let blocks = Quantised::from_tensor(&weight, StoredType::Q8_0, &Device::Cpu).unwrap();
        let mut x = normal(6, tokens * shape.1);
        x.chunks_mut(shape.1).for_each(|row| row[7] *= 100.0);
        let x = Tensor::from_vec(x, (tokens, shape.1), &Device::Cpu).unwrap();
        let exact = blocks.multiply(&x, x.dim(0).unwrap()).unwrap();
        let short = blocks.with_activations(Activations::Short).multiply(&x, x.dim(0).unwrap()).unwrap();
        let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let apart = norm(&(&exact - &short).unwrap()) / norm(&exact);
        assert!(apart < 2.4e-3, "{apart}");
    }

    #[test]
    fn few_tokens_are_multiplied_as_many_are() {
        // More rows than a short band has, and not a multiple of it.
        let shape = (2500, 256);
        let weight = Tensor::from_vec(normal(3, shape.0 * shape.1), shape, &Device::Cpu).unwrap();
        let blocks = Quantised::from_tensor(&weight, StoredType::Q8_0, &Device::Cpu).unwrap();
        let x = Tensor::from_vec(normal(4, 3 * 256), (3, 256), &Device::Cpu).unwrap();
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let few = numbers(&blocks.multiply(&x, x.dim(0).unwrap()).unwrap());
        let many = numbers(&blocks.multiply_in_bands(&x, shape.0).unwrap());
        assert!(few.iter().zip(many).all(|(few, many)| (few - many).abs() < 1e-3));
    }
}
