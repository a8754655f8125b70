//! Samples in a step.

use candle_core::{Device, Result, Tensor, bail};

use super::modulation::StepModulation;
use super::positions::Rotary;
use super::side_branches::SideBranches;

/// Values that all steps of a job share.
#[derive(Clone)]
pub struct Conditioning {
    /// Style tokens, then text tokens: (1, tokens, hidden).
    pub text: Tensor,
    /// Embedded tokens of the content reference: (1, tokens, hidden).
    pub reference: Option<Tensor>,
    /// Rotary tables of all tokens: style, text, target, reference.
    pub rotary: Rotary,
    /// The request's own LoRAs. In host memory while the sample is set aside.
    pub branches: SideBranches,
}

impl Conditioning {
    /// The same with its side branches on a device.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { branches: self.branches.to_device(device)?, ..self.clone() })
    }
}

/// A sample in a step.
pub struct Member<'a> {
    /// Packed, (1, tokens, channels).
    pub latent: &'a Tensor,
    /// The modulations of its own step.
    pub step: &'a StepModulation,
    /// What its steps share.
    pub job: &'a Conditioning,
}

impl Member<'_> {
    /// The side branches, which all samples have in common.
    pub(super) fn branches<'m>(members: &'m [Member<'_>]) -> Result<&'m SideBranches> {
        members.first().map_or_else(|| bail!("there is no sample"), |member| Ok(&member.job.branches))
    }
}

/// The two streams of double blocks.
pub(super) struct Streams {
    /// Target tokens, then those of the reference: (1, tokens, hidden).
    pub(super) image: Tensor,
    pub(super) text: Tensor,
    pub(super) target_tokens: usize,
}

impl Streams {
    /// The target's tokens.
    pub(super) fn target(&self) -> Result<Tensor> {
        self.image.narrow(1, 0, self.target_tokens)
    }
}
