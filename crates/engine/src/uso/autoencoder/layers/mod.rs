//! The layers of encoder and decoder. Each turns a map into the next.

mod attention;
mod convolution;
mod norm;
mod residual;
mod upsample;

use candle_core::Result;
use candle_nn::VarBuilder;

use self::attention::Attention;
use self::convolution::Convolution;
use self::norm::GroupNorm;
use self::residual::Residual;
use self::upsample::Upsample;
use super::chunks::{Halo, Map};
use super::plan::{Kind, Layer};

/// The encoder or the decoder.
pub(super) struct Half {
    pub(super) plan: Vec<Layer>,
    layers: Vec<Loaded>,
    /// Rows of the input per row of the latent.
    pub(super) cell: usize,
}

impl Half {
    pub(super) fn new(plan: Vec<Layer>, cell: usize, vb: &VarBuilder) -> Result<Self> {
        let layers = plan.iter().map(|layer| Loaded::new(layer, vb)).collect::<Result<_>>()?;
        Ok(Self { plan, layers, cell })
    }

    pub(super) fn forward(&self, input: Map) -> Result<Map> {
        self.layers.iter().try_fold(input, |map, layer| layer.forward(map))
    }
}

/// A layer with its weights.
enum Loaded {
    Convolution(Convolution),
    Residual(Residual),
    Attention(Attention),
    Upsample(Upsample),
    Output(GroupNorm, Convolution),
}

impl Loaded {
    /// `vb`: weights of the encoder or decoder.
    fn new(layer: &Layer, vb: &VarBuilder) -> Result<Self> {
        let (input, output) = (layer.input, layer.output);
        let own = vb.pp(&layer.name);
        Ok(match layer.kind {
            Kind::Convolution => Self::Convolution(Convolution::around(input, output, &own)?),
            Kind::Downsample => Self::Convolution(Convolution::halving(input, &own)?),
            Kind::Residual => Self::Residual(Residual::new(input, output, &own)?),
            Kind::Attention => Self::Attention(Attention::new(input, &own)?),
            Kind::Upsample => Self::Upsample(Upsample::new(input, &own)?),
            Kind::Output => Self::Output(
                GroupNorm::new(input, &vb.pp("norm_out"))?,
                Convolution::around(input, output, &vb.pp("conv_out"))?,
            ),
        })
    }

    fn forward(&self, x: Map) -> Result<Map> {
        match self {
            Self::Residual(layer) => layer.forward(x),
            Self::Attention(layer) => layer.forward(x),
            Self::Convolution(layer) => x.through(layer.halo(), |window| layer.forward(window)),
            Self::Upsample(layer) => x.through(Halo::Around, |window| layer.forward(window)),
            Self::Output(norm, layer) => {
                let norm = norm.fit(x.moments())?;
                let mut output = x.empty();
                let windows = x.windows(Halo::Around);
                windows.each(|window, _| layer.activated(window, &norm, None), |band| output.push(&band))?;
                Ok(output)
            }
        }
    }
}
