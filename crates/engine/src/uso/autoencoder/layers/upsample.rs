//! `Upsample` of the reference: each value becomes a square of four, then a 3x3 convolution.

use candle_core::{IndexOp, Result, Tensor};
use candle_nn::VarBuilder;

use super::super::chunks::Window;
use super::convolution::{around, beside, framed, sum_of_products};
use crate::cpu::convolution::Taps;
use crate::cpu::{are_here, tensors as here};

/// Both in one. Of the three rows that the kernel reads in the doubled map, two are the same row of the original map:
/// the lower two for even rows, the upper two for odd ones, and likewise for columns. If their weights are added up, a
/// 2x2 kernel for each corner of the square gives the same result from the original map, with 16 multiplications for
/// the square instead of 36.
pub(super) struct Upsample {
    /// For each corner, row by row: the two rows of its kernel, (channels, channels * 2).
    corners: Vec<Vec<Tensor>>,
    /// The same in host memory instead.
    here: Option<[Taps; 4]>,
    /// (1, channels, 1).
    bias: Tensor,
}

impl Upsample {
    pub(super) fn new(channels: usize, vb: &VarBuilder) -> Result<Self> {
        let kernel = vb.get((channels, channels, 3, 3), "weight")?;
        let bias = vb.get(channels, "bias")?.reshape((1, channels, 1))?;
        if are_here([&kernel]) { Self::here(&kernel, bias) } else { Self::elsewhere(&kernel, bias) }
    }

    /// With the kernel of three in host memory.
    fn here(kernel: &Tensor, bias: Tensor) -> Result<Self> {
        let taps = |i| here::taps(&corner(kernel, i)?);
        Ok(Self { corners: Vec::new(), here: Some([taps(0)?, taps(1)?, taps(2)?, taps(3)?]), bias })
    }

    fn elsewhere(kernel: &Tensor, bias: Tensor) -> Result<Self> {
        let channels = kernel.dim(0)?;
        let rows = |kernel: Tensor| {
            (0..2).map(|y| kernel.i((.., .., y))?.reshape((channels, channels * 2))).collect::<Result<_>>()
        };
        let corners = (0..4).map(|i| rows(corner(kernel, i)?)).collect::<Result<_>>()?;
        Ok(Self { corners, here: None, bias })
    }

    /// A band of the output, twice as high and wide. The window has the rows around it.
    pub(super) fn forward(&self, window: Window) -> Result<Tensor> {
        if let Some(corners) = &self.here {
            let (rows, _, columns) = window.band.dims3()?;
            let framed = here::framed(&window.rows, around(&window))?;
            return here::double(corners, &framed, (rows, columns), &self.bias);
        }
        let framed = framed(window)?;
        let doubled = [self.every_other_row(&framed, 0)?, self.every_other_row(&framed, 1)?];
        interleaved(&doubled, 0)
    }

    /// The even or odd rows of the output.
    fn every_other_row(&self, framed: &Tensor, row: usize) -> Result<Tensor> {
        let doubled = [self.corner(framed, row, 0)?, self.corner(framed, row, 1)?];
        interleaved(&doubled, 2)
    }

    fn corner(&self, framed: &Tensor, row: usize, column: usize) -> Result<Tensor> {
        let (rows, _, columns) = framed.dims3()?;
        let rows = framed.narrow(0, row, rows - 1)?;
        let taps = [column, column + 1].map(|start| rows.narrow(2, start, columns - 2));
        let [left, right] = taps;
        let seen = beside(&[left?, right?])?;
        let count = seen.dim(0)? - 1;
        let seen = [seen.narrow(0, 0, count)?, seen.narrow(0, 1, count)?];
        sum_of_products(&self.bias, self.corners[2 * row + column].iter().zip(&seen))
    }
}

/// The kernel of a corner of the square.
fn corner(kernel: &Tensor, corner: usize) -> Result<Tensor> {
    merged(&merged(kernel, 2, corner / 2)?, 3, corner % 2)
}

/// Turns a kernel of three along a dimension into one of two: the first and the sum of the others, or the sum of the
/// first two and the last.
fn merged(kernel: &Tensor, dim: usize, odd: usize) -> Result<Tensor> {
    let part = |start, length| kernel.narrow(dim, start, length)?.sum_keepdim(dim);
    Tensor::cat(&[part(0, 1 + odd)?, part(1 + odd, 2 - odd)?], dim)
}

/// Interleaves the entries of two tensors along a dimension.
fn interleaved(parts: &[Tensor; 2], dim: usize) -> Result<Tensor> {
    Tensor::stack(parts, dim + 1)?.flatten(dim, dim + 1)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::noise::normal;

    #[test]
    fn every_device_computes_the_same() {
        let random = |seed, shape: &[usize]| {
            Tensor::from_vec(normal(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
        };
        let (kernel, bias) = (random(1, &[6, 6, 3, 3]), random(2, &[1, 6, 1]));
        let both = [Upsample::here(&kernel, bias.clone()), Upsample::elsewhere(&kernel, bias)];
        let both = both.map(Result::unwrap);
        for (rows, columns) in [(1, 1), (3, 5)] {
            let all = random(3, &[rows + 1, 6, columns]);
            let band = all.narrow(0, 1, rows).unwrap();
            let window = Window { band, rows: all, above: true, below: false };
            let [ours, theirs] = both.each_ref().map(|layer| layer.forward(window.clone()).unwrap());
            assert_eq!(ours.dims(), [2 * rows, 6, 2 * columns]);
            let apart = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
            assert!(apart.to_scalar::<f32>().unwrap() < 1e-4);
        }
    }
}
