//! Group norm over a whole map, applied band by band.

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::super::moments::{GROUPS, Moments, total};
use crate::cpu::group::Frame;
use crate::cpu::tensors as here;
use crate::uso::fused::group_norm;

/// Added to each group's variance.
const EPSILON: f64 = 1e-6;

/// A group norm's weights.
pub(super) struct GroupNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    device: Device,
}

impl GroupNorm {
    pub(super) fn new(channels: usize, vb: &VarBuilder) -> Result<Self> {
        if !channels.is_multiple_of(GROUPS) {
            bail!("{channels} channels of the autoencoder cannot be normed in {GROUPS} groups")
        }
        let values = |name| vb.get(channels, name)?.to_vec1();
        Ok(Self { weight: values("weight")?, bias: values("bias")?, device: vb.device().clone() })
    }

    /// The norm for a map with these moments.
    pub(super) fn fit(&self, moments: &[Moments]) -> Result<Norm> {
        if moments.is_empty() {
            bail!("a map without rows cannot be normed")
        }
        let channels = self.weight.len();
        let groups = total(moments)?;
        let (mut factors, mut offsets) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for (i, (weight, bias)) in self.weight.iter().zip(&self.bias).enumerate() {
            let (mean, variance) = groups[i * GROUPS / channels];
            let factor = f64::from(*weight) / (variance + EPSILON).sqrt();
            factors.push(factor as f32);
            offsets.push((f64::from(*bias) - mean * factor) as f32);
        }
        let column = |values| Tensor::from_vec(values, (1, channels, 1), &self.device);
        Ok(Norm { factors: column(factors)?, offsets: column(offsets)? })
    }
}

/// A group norm as a factor and an offset for each channel of one map.
pub(super) struct Norm {
    factors: Tensor,
    offsets: Tensor,
}

impl Norm {
    /// Norms rows of the map, (rows, channels, columns).
    pub(super) fn apply(&self, rows: Tensor) -> Result<Tensor> {
        group_norm(rows, &self.factors, &self.offsets, false)
    }

    /// Norm and SiLU.
    pub(super) fn activate(&self, rows: Tensor) -> Result<Tensor> {
        group_norm(rows, &self.factors, &self.offsets, true)
    }

    /// Norm and SiLU of rows in host memory, within a frame.
    pub(super) fn activate_framed(&self, rows: &Tensor, frame: Frame) -> Result<Tensor> {
        here::group_norm(rows, [&self.factors, &self.offsets], true, frame)
    }
}
