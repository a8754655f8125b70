//! The LoRAs of one sample: side branches of the transformer's layers, including the modulations. The loaded weights
//! stay as they are.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::fused::gelu;
use super::lora::Changes;
use crate::matrix::{Branch, Linear};

/// The side branches of each layer, by its name. Empty for most samples.
#[derive(Debug, Clone, Default)]
pub struct SideBranches(Arc<HashMap<String, Vec<Branch>>>);

impl SideBranches {
    /// The branches for `changes`, in a compute type on a device.
    ///
    /// # Errors
    /// If they cannot be copied there.
    pub fn new(changes: Changes, dtype: DType, device: &Device) -> Result<Self> {
        let branches = changes.into_iter().map(|(layer, changes)| {
            let branches = changes.iter().map(|change| change.branch(dtype, device));
            Ok((layer, branches.collect::<Result<_>>()?))
        });
        Ok(Self(Arc::new(branches.collect::<Result<_>>()?)))
    }

    /// The output of a layer with its branches for `x` (.., in): (.., out).
    ///
    /// # Errors
    /// If a shape does not fit or the device fails.
    pub fn forward(&self, layer: &Linear, x: &Tensor) -> Result<Tensor> {
        layer.forward_with(x, self.of(layer))
    }

    /// As [`SideBranches::forward`] for some of the layer's outputs.
    ///
    /// # Errors
    /// As [`SideBranches::forward`].
    pub(super) fn forward_rows(&self, layer: &Linear, x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
        layer.forward_rows(x, rows, self.of(layer))
    }

    /// GELU of [`SideBranches::forward_rows`].
    ///
    /// # Errors
    /// As [`SideBranches::forward`].
    pub(super) fn gelu_rows(&self, layer: &Linear, x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
        match layer.gelu_on_device(x, &rows, self.of(layer))? {
            Some(activated) => Ok(activated),
            None => gelu(self.forward_rows(layer, x, rows)?),
        }
    }

    /// As [`SideBranches::forward`] for an input whose columns are in several parts.
    ///
    /// # Errors
    /// As [`SideBranches::forward`].
    pub(super) fn forward_parts(&self, layer: &Linear, parts: &[Tensor]) -> Result<Tensor> {
        layer.forward_parts(parts, self.of(layer))
    }

    fn of(&self, layer: &Linear) -> &[Branch] {
        self.0.get(layer.name()).map_or(&[], Vec::as_slice)
    }

    /// The same branches on a device, without a copy if they are already there.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        if self.branches().all(|branch| branch.is_on(device)) {
            return Ok(self.clone());
        }
        let moved = self.0.iter().map(|(layer, branches)| {
            let branches = branches.iter().map(|branch| branch.to_device(device));
            Ok((layer.clone(), branches.collect::<Result<_>>()?))
        });
        Ok(Self(Arc::new(moved.collect::<Result<_>>()?)))
    }

    /// Bytes that they take on their device.
    pub fn bytes(&self) -> u64 {
        self.branches().map(Branch::bytes).sum()
    }

    fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.0.values().flatten()
    }
}
