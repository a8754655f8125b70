//! The layers of encoder and decoder in order, with the names of the published weights.

use crate::config::AutoencoderConfig;

/// A layer: turns a map of `input` channels into one of `output` channels.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) kind: Kind,
    /// Name of its tensors, below `encoder` or `decoder`.
    pub(super) name: String,
    pub(super) input: usize,
    pub(super) output: usize,
    /// How often the sides of its input have been halved, compared with the picture's.
    pub(super) level: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Convolution,
    /// Norm, SiLU, convolution, twice, and a residual connection.
    Residual,
    Attention,
    /// Halves both sides.
    Downsample,
    /// Doubles both sides.
    Upsample,
    /// Norm, SiLU, convolution.
    Output,
}

/// `Encoder` of the reference: turns three colours into mean and log variance.
pub(super) fn encoder(config: &AutoencoderConfig) -> Vec<Layer> {
    let mut layers = Layers::new("conv_in", config.in_channels, config.ch, 0);
    for (i, factor) in config.ch_mult.iter().enumerate() {
        for block in 0..config.num_res_blocks {
            layers.add(Kind::Residual, format!("down.{i}.block.{block}"), factor * config.ch);
        }
        if i + 1 < config.ch_mult.len() {
            layers.resample(Kind::Downsample, format!("down.{i}.downsample.conv"), i + 1);
        }
    }
    layers.middle();
    layers.output(2 * config.z_channels)
}

/// `Decoder` of the reference: turns a latent into three colours.
pub(super) fn decoder(config: &AutoencoderConfig) -> Vec<Layer> {
    let widest = config.ch_mult.last().map_or(config.ch, |factor| factor * config.ch);
    let mut layers = Layers::new("conv_in", config.z_channels, widest, config.halvings());
    layers.middle();
    for (i, factor) in config.ch_mult.iter().enumerate().rev() {
        for block in 0..=config.num_res_blocks {
            layers.add(Kind::Residual, format!("up.{i}.block.{block}"), factor * config.ch);
        }
        if i > 0 {
            layers.resample(Kind::Upsample, format!("up.{i}.upsample.conv"), i - 1);
        }
    }
    layers.output(config.out_ch)
}

/// A list being built, with the channels and the level at its end.
struct Layers {
    layers: Vec<Layer>,
    channels: usize,
    level: usize,
}

impl Layers {
    fn new(name: &str, input: usize, output: usize, level: usize) -> Self {
        let mut layers = Self { layers: Vec::new(), channels: input, level };
        layers.add(Kind::Convolution, name.into(), output);
        layers
    }

    fn add(&mut self, kind: Kind, name: String, output: usize) {
        self.layers.push(Layer { kind, name, input: self.channels, output, level: self.level });
        self.channels = output;
    }

    fn resample(&mut self, kind: Kind, name: String, level: usize) {
        self.add(kind, name, self.channels);
        self.level = level;
    }

    fn middle(&mut self) {
        self.add(Kind::Residual, "mid.block_1".into(), self.channels);
        self.add(Kind::Attention, "mid.attn_1".into(), self.channels);
        self.add(Kind::Residual, "mid.block_2".into(), self.channels);
    }

    fn output(mut self, channels: usize) -> Vec<Layer> {
        self.add(Kind::Output, String::new(), channels);
        self.layers
    }
}
