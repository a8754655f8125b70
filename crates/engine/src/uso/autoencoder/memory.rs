//! The memory of encoding and decoding besides weights and result, computed from sizes. It differs between devices by
//! their [`Chunks`] alone.

use super::chunks::{Chunks, Maps};
use super::plan::{self, Kind, Layer};
use crate::config::AutoencoderConfig;
use crate::uso::fused::SCORE_BYTES;

/// Bytes of a value. The sizes below are in values, up to the end.
const VALUE: usize = size_of::<f32>();

/// Most bytes held at a time besides the weights and the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// On the device.
    pub device: u64,
    /// In host memory, if whole maps are kept there.
    pub host: u64,
}

impl Peak {
    /// Total bytes if device and host share memory: a tenth more than the sum, because the allocator cannot reuse some
    /// of the bands that a smaller map leaves behind. Measured: 3 % with the bundled model, 13 % to 17 % with FLUX's
    /// sizes.
    pub fn total(&self) -> u64 {
        (self.device + self.host) / 10 * 11
    }
}

/// Memory for decoding a picture of `width` x `height` pixels.
pub fn decoding(config: &AutoencoderConfig, width: usize, height: usize, chunks: Chunks) -> Peak {
    peak(&plan::decoder(config), Picture::new(config, width, height), chunks)
}

/// Memory for encoding a picture of `width` x `height` pixels.
pub fn encoding(config: &AutoencoderConfig, width: usize, height: usize, chunks: Chunks) -> Peak {
    peak(&plan::encoder(config), Picture::new(config, width, height), chunks)
}

/// Sides in pixels, and how often the encoder halves them.
#[derive(Clone, Copy)]
pub(super) struct Picture {
    width: usize,
    height: usize,
    halvings: usize,
}

impl Picture {
    pub(super) fn new(config: &AutoencoderConfig, width: usize, height: usize) -> Self {
        Self { width, height, halvings: config.halvings() }
    }

    /// Height in cells.
    fn cells(self) -> usize {
        self.height >> self.halvings
    }
}

/// Height of a band in cells: as many as fit into `bytes` in every layer, and at least one.
pub(super) fn cells(plan: &[Layer], picture: Picture, bytes: usize) -> usize {
    let fits = |cells: &usize| plan.iter().all(|layer| layer.band(picture, *cells) <= bytes / VALUE);
    (1..=picture.cells()).rev().find(fits).unwrap_or(1)
}

/// A chunk is counted in full, though its bands have whole cells and take a little less. So the estimate of a larger
/// picture is never below that of a smaller one.
fn peak(plan: &[Layer], picture: Picture, chunks: Chunks) -> Peak {
    let computed = |layer: &Layer| {
        let least = layer.band(picture, 1).max(chunks.bytes / VALUE);
        // The processor lays nothing out for the taps of a convolution: a band takes three quarters at most.
        let bands = if chunks.bands > 1 { least * chunks.at_once() * 3 / 4 } else { least };
        layer.kept(picture) + layer.band(picture, picture.cells()).min(bands)
    };
    let most = |values: &dyn Fn(&Layer) -> usize| (plan.iter().map(values).max().unwrap_or(0) * VALUE) as u64;
    match chunks.maps {
        Maps::Device => Peak { device: most(&|layer| computed(layer) + layer.maps(picture)), host: 0 },
        Maps::Host => Peak { device: most(&computed), host: most(&|layer| layer.maps(picture)) },
    }
}

impl Layer {
    /// Values of whole maps: the input, which the output replaces band by band. See `Residual::forward` for the second
    /// map.
    fn maps(&self, picture: Picture) -> usize {
        let cells = (picture.width >> self.level) * (picture.height >> self.level);
        let (input, output) = (self.input * cells, self.output * cells);
        match self.kind {
            Kind::Residual => input.max(2 * output),
            Kind::Upsample => 4 * output,
            _ => input.max(output),
        }
    }

    /// Values that attention keeps on the device: all keys and values, and the parts of the values while they are
    /// concatenated.
    fn kept(&self, picture: Picture) -> usize {
        if self.kind == Kind::Attention { 3 * self.maps(picture) } else { 0 }
    }

    /// Values of a band of `cells` cells while it is computed, including the band itself.
    fn band(&self, picture: Picture, cells: usize) -> usize {
        let (rows, columns) = (cells << (picture.halvings - self.level), picture.width >> self.level);
        let values = |channels: usize| channels * rows * columns;
        let seen = |channels: usize| channels * (rows + 2) * (columns + 2);
        let (input, output) = (values(self.input), values(self.output));
        match self.kind {
            Kind::Convolution | Kind::Output => input + convolution(seen(self.input), output),
            Kind::Downsample => input + convolution(seen(self.input), output / 4),
            Kind::Upsample => input + 3 * (seen(self.input) + 2 * output).max(4 * output),
            Kind::Residual => {
                let first = input + convolution(seen(self.input), output);
                first.max(2 * output + convolution(seen(self.output), output))
            }
            Kind::Attention => {
                let tokens = columns * (picture.height >> self.level);
                6 * input + 2 * (rows * columns * tokens).min(SCORE_BYTES / VALUE)
            }
        }
    }
}

/// Values of a 3x3 convolution: the input with its halo and the inputs of each tap; or the latter with the sum so far,
/// a product and their sum.
fn convolution(seen: usize, output: usize) -> usize {
    (4 * seen).max(3 * (seen + output))
}
