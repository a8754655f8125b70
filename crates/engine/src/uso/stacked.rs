//! Tokens of several samples of one shape as one tensor, so that a matrix product reads its weights once for all of
//! them: (samples, tokens, width). A single sample's tensor is used as it is.

use candle_core::{Result, Tensor};

/// Stacks the tokens of samples, each (1, tokens, width).
///
/// # Errors
/// If there is none, shapes differ or the device fails.
pub(super) fn stack(mut samples: Vec<Tensor>) -> Result<Tensor> {
    match samples.pop() {
        Some(alone) if samples.is_empty() => Ok(alone),
        last => {
            samples.extend(last);
            Tensor::cat(&samples, 0)
        }
    }
}

/// The tokens of each sample, without a copy.
///
/// # Errors
/// If it has no dimension for samples.
pub(super) fn unstack(stacked: Tensor) -> Result<Vec<Tensor>> {
    match stacked.dim(0)? {
        1 => Ok(vec![stacked]),
        samples => (0..samples).map(|i| stacked.narrow(0, i, 1)).collect(),
    }
}
