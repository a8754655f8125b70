//! First-block caching: steps that compute only the first block.
//!
//! A transformer's blocks add similar values in successive steps. If the first block adds nearly what it added in the
//! last full step, the others are assumed to do so, too: `first_block_cache` of ParaAttention (Cheng), which goes back
//! to TeaCache (Liu et al., "Timestep embedding tells", arXiv 2411.19108). It changes the picture.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::config::FluxConfig;

/// What a sample keeps of its last full step. Nothing if its request allows no skipped steps, which is the default.
#[derive(Debug, Default)]
pub struct StepCache {
    /// Largest [`difference`] of the first block at which a step is skipped.
    threshold: f64,
    pub(super) whole: Option<WholeStep>,
    skipped: u32,
}

/// What was added to the target's tokens in a step: (1, tokens, hidden).
#[derive(Debug)]
pub(super) struct WholeStep {
    /// By the first block.
    pub(super) first: Tensor,
    /// By all other blocks.
    pub(super) others: Tensor,
}

impl StepCache {
    /// An empty cache. With a threshold of 0 it is never used.
    pub fn new(threshold: f64) -> Self {
        Self { threshold, ..Self::default() }
    }

    /// Bytes that it holds for `tokens` target tokens.
    pub(super) fn bytes(&self, tokens: u64, config: &FluxConfig, dtype: DType) -> u64 {
        let tensors = if self.is_on() { 2 } else { 0 };
        tensors * tokens * (config.hidden_size * dtype.size_in_bytes()) as u64
    }

    /// Whether steps may be skipped.
    pub fn is_on(&self) -> bool {
        self.threshold > 0.0
    }

    /// Steps that were skipped.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }

    /// What all blocks but the first are assumed to add, if the first one added `added` to the target's tokens. None if
    /// the step must be computed in full; the kept values are then dropped, to save memory.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn reuse(&mut self, added: &Tensor) -> Result<Option<Tensor>> {
        if let Some(WholeStep { first, others }) = &self.whole
            && difference(added, first)? < self.threshold
        {
            self.skipped += 1;
            return Ok(Some(others.clone()));
        }
        self.whole = None;
        Ok(None)
    }

    /// Keeps what the first block and all others added in a full step.
    pub(super) fn keep(&mut self, first: Tensor, others: Tensor) {
        self.whole = Some(WholeStep { first, others });
    }

    /// The same on a device, without a copy if it is already there.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub(super) fn to_device(&self, device: &Device) -> Result<Self> {
        let whole = self.whole.as_ref().map(|whole| whole.to_device(device)).transpose()?;
        Ok(Self { whole, ..*self })
    }
}

impl WholeStep {
    fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { first: self.first.to_device(device)?, others: self.others.to_device(device)? })
    }
}

/// Mean absolute difference of two tensors relative to the mean of the second one (`are_two_tensors_similar` of
/// ParaAttention), in float32. NaN if the second is all zeros, which is not below any threshold.
fn difference(now: &Tensor, before: &Tensor) -> Result<f64> {
    let mean = |x: &Tensor| x.abs()?.mean(D::Minus1)?.mean_all()?.to_scalar::<f32>().map(f64::from);
    let (now, before) = (now.to_dtype(DType::F32)?, before.to_dtype(DType::F32)?);
    Ok(mean(&(now - &before)?)? / mean(&before)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(numbers: [f32; 4]) -> Tensor {
        Tensor::from_slice(&numbers, (1, 2, 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn what_differs_by_less_than_the_threshold_is_reused() {
        let (before, now) = (tensor([1.0, -2.0, 3.0, -2.0]), tensor([1.5, -2.0, 3.0, -1.5]));
        assert_eq!(difference(&now, &before).unwrap(), 0.125);
        let others = tensor([7.0; 4]);
        let mut cache = StepCache::new(0.126);
        assert!(cache.reuse(&before).unwrap().is_none(), "there was no step");
        cache.keep(before.clone(), others.clone());
        assert_eq!(cache.reuse(&now).unwrap().unwrap().id(), others.id());
        assert_eq!(cache.skipped(), 1);
        let mut cache = StepCache::new(0.125);
        cache.keep(before, others);
        assert!(cache.reuse(&now).unwrap().is_none());
        assert!((cache.skipped(), cache.whole.is_none()) == (0, true));
    }

    #[test]
    fn nothing_is_like_zeros_or_like_what_is_not_finite() {
        for numbers in [[0.0; 4], [f32::NAN; 4], [f32::INFINITY; 4]] {
            let mut cache = StepCache::new(1.0);
            cache.keep(tensor(numbers), tensor([1.0; 4]));
            assert!(cache.reuse(&tensor(numbers)).unwrap().is_none(), "{numbers:?}");
        }
    }
}
