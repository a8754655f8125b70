//! Convolutions as sums of matrix products, one for each row of the kernel.
//!
//! The input of a row of the kernel is laid out first: for each channel, the columns once for each tap. Then one matrix
//! product works on every device, and its memory is known: three times the input. A device's own convolution takes nine
//! times as much, or an unknown amount. In host memory, the input of a tap is read from where it is.

use candle_core::{IndexOp, Result, Tensor};
use candle_nn::VarBuilder;

use super::super::chunks::{Halo, Window};
use super::norm::Norm;
use crate::cpu::convolution::Taps;
use crate::cpu::group::Frame;
use crate::cpu::{are_here, tensors as here};

/// A convolution with a bias.
pub(super) struct Convolution {
    kernel: Kernel,
    /// (1, output, 1).
    bias: Tensor,
    pattern: Pattern,
}

enum Kernel {
    /// For each row: (output, input * taps).
    Rows(Vec<Tensor>),
    /// In host memory.
    Taps(Taps),
}

#[derive(Clone, Copy)]
enum Pattern {
    /// 1x1.
    Pointwise,
    /// 3x3, zeros around the map.
    Around,
    /// 3x3 on every other row and column, zeros below and on the right (`Downsample` of the reference).
    Halving,
}

impl Convolution {
    pub(super) fn pointwise(input: usize, output: usize, vb: &VarBuilder) -> Result<Self> {
        Self::new(Pattern::Pointwise, 1, (input, output), vb)
    }

    pub(super) fn around(input: usize, output: usize, vb: &VarBuilder) -> Result<Self> {
        Self::new(Pattern::Around, 3, (input, output), vb)
    }

    pub(super) fn halving(channels: usize, vb: &VarBuilder) -> Result<Self> {
        Self::new(Pattern::Halving, 3, (channels, channels), vb)
    }

    fn new(pattern: Pattern, size: usize, (input, output): (usize, usize), vb: &VarBuilder) -> Result<Self> {
        let kernel = vb.get((output, input, size, size), "weight")?;
        let bias = vb.get(output, "bias")?.reshape((1, output, 1))?;
        let kernel = if are_here([&kernel]) { Kernel::here(&kernel) } else { Kernel::elsewhere(&kernel) };
        Ok(Self { kernel: kernel?, bias, pattern })
    }

    /// Rows that it reads around a band.
    pub(super) fn halo(&self) -> Halo {
        match self.pattern {
            Pattern::Pointwise => Halo::None,
            Pattern::Around => Halo::Around,
            Pattern::Halving => Halo::Below,
        }
    }

    /// A band of the output: (rows, output, columns).
    pub(super) fn forward(&self, window: Window) -> Result<Tensor> {
        match &self.kernel {
            Kernel::Taps(taps) => self.here(taps, &window, None, None),
            Kernel::Rows(kernel) => {
                let taps = self.taps(window)?;
                let rows = self.pattern.slide(&taps, 0)?;
                sum_of_products(&self.bias, kernel.iter().zip(&rows))
            }
        }
    }

    /// A band of the output for the window after a norm and SiLU, added to `more`.
    pub(super) fn activated(&self, window: Window, norm: &Norm, more: Option<&Tensor>) -> Result<Tensor> {
        if let Kernel::Taps(taps) = &self.kernel {
            return self.here(taps, &window, Some(norm), more);
        }
        let output = self.forward(window.map(|rows| norm.activate(rows))?)?;
        more.map_or(Ok(output.clone()), |more| output + more)
    }

    /// A band of the output in host memory.
    fn here(
        &self,
        taps: &Taps,
        window: &Window,
        norm: Option<&Norm>,
        more: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (rows, _, columns) = window.band.dims3()?;
        let frame = self.pattern.frame(window)?;
        let framed = match norm {
            Some(norm) => norm.activate_framed(&window.rows, frame)?,
            None if frame == Frame::default() => window.rows.contiguous()?,
            None => here::framed(&window.rows, frame)?,
        };
        let stride = self.pattern.stride();
        here::slide(taps, &framed, (rows / stride, columns / stride), stride, &self.bias, more)
    }

    /// (rows, input * taps, columns).
    fn taps(&self, window: Window) -> Result<Tensor> {
        let rows = self.pattern.framed(window)?;
        beside(&self.pattern.slide(&rows, 2)?)
    }
}

impl Kernel {
    /// A kernel (output, input, rows, columns) in host memory.
    fn here(kernel: &Tensor) -> Result<Self> {
        Ok(Self::Taps(here::taps(kernel)?))
    }

    fn elsewhere(kernel: &Tensor) -> Result<Self> {
        let (output, input, rows, columns) = kernel.dims4()?;
        let row = |y| kernel.i((.., .., y))?.reshape((output, input * columns));
        Ok(Self::Rows((0..rows).map(row).collect::<Result<_>>()?))
    }
}

impl Pattern {
    /// How far the kernel moves.
    fn stride(self) -> usize {
        if matches!(self, Self::Halving) { 2 } else { 1 }
    }

    /// The zeros that the convolution needs around a window.
    fn frame(self, window: &Window) -> Result<Frame> {
        Ok(match self {
            Self::Pointwise => Frame::default(),
            Self::Around => around(window),
            Self::Halving => {
                let missing = |side: usize, there: usize| (side / 2 * 2 + 1).saturating_sub(there);
                let (rows, _, columns) = window.band.dims3()?;
                let below = missing(rows, window.rows.dim(0)?);
                Frame { above: 0, below, left: 0, right: missing(columns, columns) }
            }
        })
    }

    /// The window with the padding that the convolution needs.
    fn framed(self, window: Window) -> Result<Tensor> {
        match self {
            Self::Pointwise => Ok(window.rows),
            Self::Around => framed(window),
            Self::Halving => {
                let (rows, columns) = (window.band.dim(0)?, window.band.dim(2)?);
                let missing = |side: usize, there: usize| side / 2 * 2 + 2 - there;
                let below = missing(rows, window.rows.dim(0)?);
                let mut framed = window.rows.pad_with_zeros(0, 0, below)?;
                framed = framed.pad_with_zeros(2, 0, missing(columns, columns))?;
                framed = evens_first(&framed, 0)?;
                evens_first(&framed, 2)
            }
        }
    }

    /// The input of each tap along a dimension.
    fn slide(self, x: &Tensor, dim: usize) -> Result<Vec<Tensor>> {
        let length = x.dim(dim)?;
        match self {
            Self::Pointwise => Ok(vec![x.clone()]),
            Self::Around => (0..3).map(|start| x.narrow(dim, start, length - 2)).collect(),
            Self::Halving => {
                let half = length / 2;
                [0, half, 1].into_iter().map(|start| x.narrow(dim, start, half - 1)).collect()
            }
        }
    }
}

/// A column of zeros on both sides, and a row of zeros where the map ends.
pub(super) fn around(window: &Window) -> Frame {
    let row = |is_there: bool| usize::from(!is_there);
    Frame { above: row(window.above), below: row(window.below), left: 1, right: 1 }
}

/// A window with a column of zeros on both sides, and a row of zeros where the map ends.
pub(super) fn framed(window: Window) -> Result<Tensor> {
    let (above, below) = (usize::from(!window.above), usize::from(!window.below));
    window.rows.pad_with_zeros(0, above, below)?.pad_with_zeros(2, 1, 1)
}

/// Several (rows, channels, columns) as one (rows, channels * several, columns), channel by channel.
pub(super) fn beside(taps: &[Tensor]) -> Result<Tensor> {
    let (rows, channels, columns) = taps[0].dims3()?;
    Tensor::cat(taps, 2)?.reshape((rows, channels * taps.len(), columns))
}

/// The sum of the products of each kernel row, (output, taps), with its input, (rows, taps, columns).
pub(super) fn sum_of_products<'a>(
    bias: &Tensor,
    mut pairs: impl Iterator<Item = (&'a Tensor, &'a Tensor)>,
) -> Result<Tensor> {
    pairs.try_fold(bias.clone(), |sum, (kernel, seen)| {
        kernel.broadcast_left(seen.dim(0)?)?.matmul(seen)?.broadcast_add(&sum)
    })
}

/// Entries 0, 2, 4, ... of a dimension, then 1, 3, 5, ...: each half is then a contiguous range.
fn evens_first(x: &Tensor, dim: usize) -> Result<Tensor> {
    let length = x.dim(dim)? as u32;
    let order: Vec<u32> = (0..length).step_by(2).chain((1..length).step_by(2)).collect();
    x.index_select(&Tensor::new(order, x.device())?, dim)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::noise::normal;

    fn random(seed: u64, shape: &[usize]) -> Tensor {
        Tensor::from_vec(normal(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn every_device_computes_the_same() {
        let (input, output) = (5, 7);
        for (pattern, size) in [(Pattern::Pointwise, 1), (Pattern::Around, 3), (Pattern::Halving, 3)] {
            let (kernel, bias) = (random(1, &[output, input, size, size]), random(2, &[1, output, 1]));
            let both = [Kernel::here(&kernel), Kernel::elsewhere(&kernel)].map(|kernel| Convolution {
                kernel: kernel.unwrap(),
                bias: bias.clone(),
                pattern,
            });
            for (rows, columns) in [(2, 4), (4, 7), (5, 6)] {
                for (above, below) in [(false, false), (true, false), (false, true), (true, true)] {
                    let count = |there: bool| usize::from(there);
                    let all = random(3, &[count(above) + rows + count(below), input, columns]);
                    let band = all.narrow(0, count(above), rows).unwrap();
                    let window = match both[0].halo() {
                        Halo::None => Window::alone(band),
                        Halo::Below if above => continue,
                        _ => Window { band, rows: all, above, below },
                    };
                    let [ours, theirs] = both.each_ref().map(|layer| layer.forward(window.clone()).unwrap());
                    assert_eq!(ours.dims(), theirs.dims());
                    let apart = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
                    assert!(apart.to_scalar::<f32>().unwrap() < 1e-4, "{rows}, {columns}, {above}, {below}");
                }
            }
        }
    }
}
