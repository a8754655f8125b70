use std::time::Duration;

use candle_core::{Result, Tensor};

use super::flux::Conditioning;
use super::latents::{self, TOKEN_PIXELS};
use super::modulation::ModulationTables;
use super::step_cache::StepCache;
use crate::{Footprint, PromptTokens, Shape, Steps};

/// A picture that is being sampled, from noise to latent. Its tensors belong to the device's thread.
pub struct Sample {
    pub(super) conditioning: Conditioning,
    /// In host memory while the sample is set aside.
    pub(super) modulations: ModulationTables,
    /// In host memory while the sample is set aside.
    pub(super) step_cache: StepCache,
    /// Packed, (1, tokens, 64), float32.
    pub(super) latent: Tensor,
    /// `steps + 1` values from 1 down to 0.
    pub(super) timesteps: Vec<f32>,
    pub(super) position: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The last step's prediction, packed like the latent.
    pub(super) velocity: Option<Tensor>,
    pub(super) footprint: Footprint,
    pub(super) prompt_tokens: PromptTokens,
    pub(super) expected_step: Option<Duration>,
    /// What it has in common with those that it can be stepped with; none if it is stepped alone.
    pub(super) shape: Option<Shape>,
}

impl Sample {
    /// Steps done and total steps.
    pub fn steps(&self) -> Steps {
        Steps { done: self.position as u32, of: self.timesteps.len() as u32 - 1 }
    }

    /// Steps that skipped all blocks but the first since the sample was made, see [`Request::step_cache`].
    ///
    /// [`Request::step_cache`]: crate::Request::step_cache
    pub fn skipped_steps(&self) -> u32 {
        self.step_cache.skipped()
    }

    /// How many tokens its prompt has, and how many of them were cut.
    pub fn prompt_tokens(&self) -> PromptTokens {
        self.prompt_tokens
    }

    /// Its device memory.
    pub fn footprint(&self) -> Footprint {
        self.footprint
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

    /// The latent after an Euler step with this velocity, both packed.
    pub(super) fn moved(&self, velocity: &Tensor) -> Result<Tensor> {
        let (now, next) = (self.timesteps[self.position], self.timesteps[self.position + 1]);
        &self.latent + (velocity * (f64::from(next) - f64::from(now)))?
    }

    /// Ends a step.
    pub(super) fn arrive(&mut self, latent: Tensor, velocity: Tensor) {
        self.latent = latent;
        self.velocity = Some(velocity);
        self.position += 1;
    }

    /// The final latent if the last step's prediction held from here on: (1, 16, height / 8, width / 8), float32. None
    /// before the first step.
    ///
    /// In flow matching, a latent at time t is `(1 - t) * clean + t * noise`, and the velocity is `noise - clean` (Liu
    /// et al., "Flow straight and fast", arXiv 2209.03003; Esser et al., arXiv 2403.03206), so the clean latent is
    /// `latent - t * velocity`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn predicted(&self) -> Result<Option<Tensor>> {
        let Some(velocity) = &self.velocity else { return Ok(None) };
        let now = f64::from(self.timesteps[self.position]);
        let clean = (&self.latent - (velocity * now)?)?;
        latents::unpack(&clean, self.rows, self.columns).map(Some)
    }
}
