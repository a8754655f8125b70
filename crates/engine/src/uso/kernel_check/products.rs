//! The check of cuBLASLt's products against the same numbers multiplied on the CPU in float32.
//!
//! Sums are in float32 on both sides, and the result is rounded at most twice, so that the bound of all kernels holds:
//! what it allows is a few roundings of the result. For numbers in e4m3 the reference multiplies the numbers that the
//! codes stand for, rounded on the CPU: the device has to find the same codes.

use candle_core::{D, DType, Device, Result, Tensor, bail};

use super::inputs::{Compared, Inputs};
use crate::kernels::Kernel;
use crate::matrix::{Linear, Matrix, Tier};

/// Tokens that no tile divides, and sides of the matrix: the first part of the input, the second, outputs.
const TOKENS: usize = 77;
const PARTS: [usize; 2] = [64, 160];
const OUT: usize = 208;
/// The outputs of the product of some rows.
const ROWS: std::ops::Range<usize> = 48..OUT;

/// Two products that add, and one with some rows of the weights, each with the bias.
pub(super) fn sum_case(inputs: &Inputs<'_>) -> Result<Compared> {
    summed(inputs, &Layer::new(inputs, None)?, Kernel::Product)
}

/// As [`sum_case`] for weights in e4m3 and an input that is rounded to it, each part with its own scale.
pub(super) fn fp8_sum_case(inputs: &Inputs<'_>) -> Result<Compared> {
    summed(inputs, &Layer::new(inputs, Some(Tier::Fp8W8A8))?, Kernel::ProductFp8)
}

/// GELU after the bias. NVIDIA's documents do not say which form of GELU it is: the exact one and the tanh form, which
/// FLUX has, are at most 5e-4 apart, less than a rounding of their larger values to bfloat16.
pub(super) fn gelu_case(inputs: &Inputs<'_>) -> Result<Compared> {
    activated(inputs, &Layer::new(inputs, None)?, Kernel::ProductGelu)
}

/// As [`gelu_case`] for numbers in e4m3.
pub(super) fn fp8_gelu_case(inputs: &Inputs<'_>) -> Result<Compared> {
    activated(inputs, &Layer::new(inputs, Some(Tier::Fp8W8A8))?, Kernel::ProductFp8Gelu)
}

/// As [`sum_case`] for weights as integers and an input that is rounded to them, with a scale for each token of a part.
pub(super) fn int8_sum_case(inputs: &Inputs<'_>) -> Result<Compared> {
    summed(inputs, &Layer::new(inputs, Some(Tier::Int8W8A8))?, Kernel::ProductInt8)
}

/// As [`gelu_case`] for integers.
pub(super) fn int8_gelu_case(inputs: &Inputs<'_>) -> Result<Compared> {
    activated(inputs, &Layer::new(inputs, Some(Tier::Int8W8A8))?, Kernel::ProductInt8Gelu)
}

fn summed(inputs: &Inputs<'_>, layer: &Layer, kernel: Kernel) -> Result<Compared> {
    let x = inputs.random(&[1, TOKENS, PARTS[0] + PARTS[1]], 22)?;
    // The parts have numbers of other sizes, and the first one's rows are parts of longer ones.
    let second = inputs.both(&(&x.here.narrow(2, PARTS[0], PARTS[1])? * 9.0)?)?;
    let first = x.there.narrow(2, 0, PARTS[0])?;
    let sum = layer.on_device(inputs, &[first, second.there], 0..OUT, kernel)?;
    let some = layer.on_device(inputs, &[x.there], ROWS, kernel)?;
    let rounds = layer.rounds;
    let joined = [layer_input(&x.here.narrow(2, 0, PARTS[0])?, rounds)?, layer_input(&second.here, rounds)?];
    let expected_sum = layer.multiply(&Tensor::cat(&joined, 2)?)?;
    let expected_some = layer.multiply(&layer_input(&x.here, rounds)?)?.narrow(2, ROWS.start, ROWS.len())?;
    Ok(Compared {
        computed: Tensor::cat(&[sum, some], D::Minus1)?,
        expected: Tensor::cat(&[expected_sum, expected_some], D::Minus1)?,
    })
}

fn activated(inputs: &Inputs<'_>, layer: &Layer, kernel: Kernel) -> Result<Compared> {
    let x = inputs.random(&[1, TOKENS, PARTS[0] + PARTS[1]], 23)?;
    let expected = layer.multiply(&layer_input(&x.here, layer.rounds)?)?;
    Ok(Compared {
        computed: layer.on_device(inputs, &[x.there], 0..OUT, kernel)?,
        expected: expected.gelu()?,
    })
}

/// A layer on the device, and its numbers in float32 on the CPU.
struct Layer {
    there: Linear,
    weight: Tensor,
    bias: Tensor,
    /// The tier that an input is rounded to as well.
    rounds: Option<Tier>,
}

impl Layer {
    fn new(inputs: &Inputs<'_>, tier: Option<Tier>) -> Result<Self> {
        let into = PARTS[0] + PARTS[1];
        let weight = inputs.random(&[OUT, into], 20)?;
        // Outputs of about the size of 1.
        let weight = inputs.both(&(weight.here * (into as f64).powf(-0.5))?)?;
        let bias = inputs.random(&[OUT], 21)?;
        let matrix = match tier {
            None => Matrix::Dense(weight.there),
            Some(tier) => Matrix::from_tensor(&weight.here, tier, inputs.dtype, inputs.device)?,
        };
        let weight = if tier.is_some() {
            matrix.dequantise(DType::F32)?.to_device(&Device::Cpu)?
        } else {
            weight.here
        };
        Ok(Self { there: Linear::new(matrix, Some(bias.there))?, weight, bias: bias.here, rounds: tier })
    }

    fn on_device(
        &self,
        inputs: &Inputs<'_>,
        parts: &[Tensor],
        rows: std::ops::Range<usize>,
        kernel: Kernel,
    ) -> Result<Tensor> {
        let compute = |work: &crate::kernels::Work| (inputs.compute)(work).map(Some);
        match self.there.by_products(parts, &rows, kernel, &compute)? {
            Some(y) => Ok(y),
            None => bail!("it does not take the check's input"),
        }
    }

    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        x.broadcast_matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}

/// What a product reads of a part of its input (1, tokens, columns): the numbers of the codes if it `rounds`. A token is
/// rounded as a row of weights is.
fn layer_input(part: &Tensor, rounds: Option<Tier>) -> Result<Tensor> {
    let Some(tier) = rounds else { return part.contiguous() };
    let codes = Matrix::from_tensor(&part.squeeze(0)?, tier, DType::F32, &Device::Cpu)?;
    codes.dequantise(DType::F32)?.unsqueeze(0)
}
