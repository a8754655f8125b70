//! `ResnetBlock` of the reference.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::super::chunks::{Halo, Map, Measured, Window};
use super::convolution::Convolution;
use super::norm::GroupNorm;

/// Norm, SiLU, convolution, twice, and a residual connection.
pub(super) struct Residual {
    norms: [GroupNorm; 2],
    convolutions: [Convolution; 2],
    /// None if the number of channels stays the same.
    shortcut: Option<Convolution>,
}

impl Residual {
    pub(super) fn new(input: usize, output: usize, vb: &VarBuilder) -> Result<Self> {
        let shortcut = || Convolution::pointwise(input, output, &vb.pp("nin_shortcut"));
        Ok(Self {
            norms: [GroupNorm::new(input, &vb.pp("norm1"))?, GroupNorm::new(output, &vb.pp("norm2"))?],
            convolutions: [
                Convolution::around(input, output, &vb.pp("conv1"))?,
                Convolution::around(output, output, &vb.pp("conv2"))?,
            ],
            shortcut: (input != output).then(shortcut).transpose()?,
        })
    }

    /// Two whole maps of the output's size exist at a time: the second norm needs the complete result of the first
    /// convolution, and the residual waits for it. A shortcut with a convolution is computed together with the first
    /// convolution, so that both take the place of the input.
    pub(super) fn forward(&self, x: Map) -> Result<Map> {
        let norm = self.norms[0].fit(x.moments())?;
        let mut shortcut = if self.shortcut.is_none() { x.clone() } else { x.empty() };
        let mut inner = x.empty();
        let compute = |window: Window, _| {
            let alone = |convolution: &Convolution| convolution.forward(Window::alone(window.band.clone()));
            let beside = self.shortcut.as_ref().map(alone).transpose()?;
            Ok((beside, Measured::new(self.convolutions[0].activated(window, &norm, None)?)?))
        };
        x.windows(Halo::Around).each(compute, |(beside, band)| {
            beside.map_or(Ok(()), |beside| shortcut.push(&beside))?;
            inner.push_measured(band)
        })?;
        self.add(inner, shortcut)
    }

    fn add(&self, inner: Map, shortcut: Map) -> Result<Map> {
        let norm = self.norms[1].fit(inner.moments())?;
        let mut output = inner.empty();
        let windows = inner.windows(Halo::Around).beside(shortcut);
        let compute = |window, beside: Option<Tensor>| {
            Measured::new(self.convolutions[1].activated(window, &norm, beside.as_ref())?)
        };
        windows.each(compute, |band| output.push_measured(band))?;
        Ok(output)
    }
}
