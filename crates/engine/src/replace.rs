//! Copies of layers in which other tensors take the places of theirs.

use std::sync::Arc;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{Device, Result, Tensor};

/// Gives the tensor that takes the place of another.
pub(crate) trait Replace {
    /// For plain numbers.
    ///
    /// # Errors
    /// If there is none.
    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor>;

    /// For ggml's blocks.
    ///
    /// # Errors
    /// If there is none.
    fn blocks(&mut self, blocks: &Arc<QTensor>) -> Result<Arc<QTensor>>;
}

/// Something that consists of tensors and of what says how they are used.
pub(crate) trait HasTensors: Sized {
    /// The same with other tensors, which `by` is asked for one by one, always in the same order.
    ///
    /// # Errors
    /// The first error of `by`.
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self>;
}

/// Replaces tensors by copies on a device; those that are there already stay.
pub(crate) struct ToDevice<'a>(pub(crate) &'a Device);

impl Replace for ToDevice<'_> {
    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(self.0)
    }

    fn blocks(&mut self, blocks: &Arc<QTensor>) -> Result<Arc<QTensor>> {
        if blocks.device().same_device(self.0) {
            return Ok(Arc::clone(blocks));
        }
        let storage = QStorage::from_data(blocks.data()?, self.0, blocks.dtype())?;
        Ok(Arc::new(QTensor::new(storage, blocks.shape().clone())?))
    }
}
