//! Subject and style by the bundled model's own vision encoder, a small SigLIP, which was trained for style references.
//! These are no published measures; no other scorer knows the world of that model.

use candle_core::{D, DType, Device, Result, Tensor};

use super::file::{digest, profile};
use super::prepare::Preprocessing;
use super::scores::Profile;
use crate::model::{Model, Part};
use crate::uso::Place;
use crate::uso::siglip::{HiddenStates, Siglip};
use crate::{Error, ModelFiles};

/// The encoder, and what is known of it.
pub(super) struct SiglipScorer {
    encoder: Siglip,
    pub(super) preprocessing: Preprocessing,
    pub(super) profile: Profile,
    pub(super) memory: u64,
}

impl SiglipScorer {
    /// Loads the encoder of the bundled model.
    ///
    /// # Errors
    /// As [`Model::siglip_encoder`].
    pub(super) fn bundled(device: &Device) -> std::result::Result<Self, Error> {
        let model = Model::open(&ModelFiles::Bundled)?;
        let encoder = model.siglip_encoder(&Place::new(device.clone(), DType::F32))?;
        let preprocessing = Preprocessing::siglip(encoder.image_size() as u32, model.normalisation()?);
        let weights = model.weights(Part::Siglip)?;
        let name = format!("{}-siglip", model.files().name());
        let feature =
            "subject: deviations of hidden state -20; style: means of hidden states -2, -11 and -20";
        let profile = profile(&name, digest(&weights)?, &preprocessing, feature);
        let shapes = weights.names().filter_map(|name| weights.shape(name));
        let parameters: u64 = shapes.map(|shape| shape.iter().product::<usize>() as u64).sum();
        Ok(Self { encoder, preprocessing, profile, memory: 4 * parameters })
    }

    /// The features of prepared pixels: of the subject, then of the style, each (1, feature).
    ///
    /// # Errors
    /// If there is another number of pixels, or the device fails.
    pub(super) fn features(&self, pixels: &[f32]) -> Result<[Tensor; 2]> {
        let states = self.encoder.encode(pixels)?;
        Ok([subject(&states)?, style(&states)?])
    }
}

/// The standard deviation of each channel over all tokens, less the mean of all channels'. Where the tokens of a picture
/// differ depends more on what it shows than their means do.
fn subject(states: &HiddenStates) -> Result<Tensor> {
    let state = &states.low;
    let deviation = state.broadcast_sub(&state.mean_keepdim(1)?)?.sqr()?.mean(1)?.sqrt()?;
    deviation.broadcast_sub(&deviation.mean_keepdim(D::Minus1)?)
}

/// The mean of each channel over all tokens, for each of the three states that USO reads, each with length 1.
fn style(states: &HiddenStates) -> Result<Tensor> {
    let mean = |state: &Tensor| {
        let mean = state.mean(1)?;
        mean.broadcast_div(&mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
    };
    Tensor::cat(&[mean(&states.high)?, mean(&states.mid)?, mean(&states.low)?], D::Minus1)
}
