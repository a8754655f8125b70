//! Modulations of several samples, each at its own timestep, around products for all of them.

use candle_core::{Result, Tensor};

use super::modulation::Modulated;
use super::stacked::{stack, unstack};

/// The tokens of each sample, normed as its own timestep asks, stacked.
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(super) fn normed<'t>(
    samples: impl IntoIterator<Item = &'t Tensor>,
    modulated: &[&Modulated],
) -> Result<Tensor> {
    let normed = samples.into_iter().zip(modulated).map(|(x, modulated)| modulated.norm.forward(x));
    stack(normed.collect::<Result<_>>()?)
}

/// `x + gate * y` of each sample, with the gate of its own timestep. `stacked` has the `y` of all.
///
/// # Errors
/// If a shape does not fit or the device fails.
pub(super) fn gated<'t>(
    samples: impl IntoIterator<Item = &'t Tensor>,
    stacked: Tensor,
    modulated: &[&Modulated],
) -> Result<Vec<Tensor>> {
    let added = samples.into_iter().zip(unstack(stacked)?).zip(modulated);
    added.map(|((x, y), modulated)| modulated.gated(x, &y)).collect()
}
