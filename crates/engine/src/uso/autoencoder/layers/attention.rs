//! `AttnBlock` of the reference: attention between all cells of a map.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::super::chunks::{Halo, Map, Window};
use super::convolution::Convolution;
use super::norm::{GroupNorm, Norm};
use crate::uso::fused::attend_between;

/// Attention with one head, and a residual connection.
pub(super) struct Attention {
    norm: GroupNorm,
    query: Convolution,
    key: Convolution,
    value: Convolution,
    projection: Convolution,
}

impl Attention {
    pub(super) fn new(channels: usize, vb: &VarBuilder) -> Result<Self> {
        let pointwise = |name| Convolution::pointwise(channels, channels, &vb.pp(name));
        Ok(Self {
            norm: GroupNorm::new(channels, &vb.pp("norm"))?,
            query: pointwise("q")?,
            key: pointwise("k")?,
            value: pointwise("v")?,
            projection: pointwise("proj_out")?,
        })
    }

    pub(super) fn forward(&self, x: Map) -> Result<Map> {
        let norm = self.norm.fit(x.moments())?;
        let (keys, values) = (all(&self.key, &x, &norm)?, all(&self.value, &x, &norm)?);
        x.through(Halo::None, |window| {
            let band = window.band.clone();
            let query = tokens(&self.query.forward(window.map(|rows| norm.apply(rows))?)?)?;
            let (rows, channels, columns) = band.dims3()?;
            let attended = attend_between(&query, &keys, &values)?.reshape((rows, columns, channels))?;
            let attended = Window::alone(attended.transpose(1, 2)?.contiguous()?);
            band + self.projection.forward(attended)?
        })
    }
}

/// The normed map's tokens, each projected.
fn all(projection: &Convolution, x: &Map, norm: &Norm) -> Result<Tensor> {
    let bands = x.clone().windows(Halo::None);
    let bands = bands.map(|window| tokens(&projection.forward(window?.map(|rows| norm.apply(rows))?)?));
    Tensor::cat(&bands.collect::<Result<Vec<_>>>()?, 2)
}

/// The cells of a band as (1, 1, rows * columns, channels).
fn tokens(band: &Tensor) -> Result<Tensor> {
    let (rows, channels, columns) = band.dims3()?;
    band.transpose(1, 2)?.reshape((1, 1, rows * columns, channels))
}
