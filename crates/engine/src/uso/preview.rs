//! Previews of unfinished samples without the autoencoder: each cell of a latent becomes a pixel.

use candle_core::{Result, Tensor};

use super::{autoencoder, latents};
use crate::Image;
use crate::config::PreviewConfig;
use crate::engine::PREVIEW_SIDE;
use crate::request::SIDE;

// Even the largest picture's latent needs no scaling.
const _: () = assert!(*SIDE.end() <= PREVIEW_SIDE * latents::CELL_PIXELS as u32);

/// The picture of a latent (1, 16, h, w) by a linear map of its channels: h x w pixels.
pub(super) fn render(latent: &Tensor, map: &PreviewConfig) -> Result<Image> {
    let (_, channels, rows, columns) = latent.dims4()?;
    let weights: Vec<f32> = map.weights.iter().flatten().copied().collect();
    let weights = Tensor::from_vec(weights, (3, channels), latent.device())?;
    let bias = Tensor::from_slice(&map.bias, (3, 1), latent.device())?;
    let colours = weights.matmul(&latent.reshape((channels, rows * columns))?)?.broadcast_add(&bias)?;
    autoencoder::to_image(&colours.reshape((1, 3, rows, columns))?)
}
