use candle_core::{Result, Tensor};

use super::flux::Conditioning;
use super::latents::{self, TOKEN_PIXELS};
use crate::Steps;

/// A picture on its way from noise to latent. Its tensors belong to the device's thread.
pub struct Sample {
    pub(super) conditioning: Conditioning,
    /// Packed, (1, tokens, 64), float32.
    pub(super) latent: Tensor,
    /// `steps + 1` values from 1 down to 0.
    pub(super) timesteps: Vec<f32>,
    pub(super) position: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Sample {
    /// How far it has come.
    pub fn steps(&self) -> Steps {
        Steps { done: self.position as u32, of: self.timesteps.len() as u32 - 1 }
    }

    /// Width of the picture in pixels.
    pub fn width(&self) -> u32 {
        (self.columns * TOKEN_PIXELS) as u32
    }

    /// Height of the picture in pixels.
    pub fn height(&self) -> u32 {
        (self.rows * TOKEN_PIXELS) as u32
    }

    /// The latent as it is now: (1, 16, height / 8, width / 8), float32.
    ///
    /// # Errors
    /// If the device fails.
    pub fn latent(&self) -> Result<Tensor> {
        latents::unpack(&self.latent, self.rows, self.columns)
    }
}
