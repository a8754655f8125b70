//! What kernels are checked with.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::kernels::Work;
use crate::noise::normal;

/// What a device gave, and what it should give.
pub(super) struct Compared {
    pub(super) computed: Tensor,
    /// In float32, on the CPU.
    pub(super) expected: Tensor,
}

pub(super) struct Inputs<'a> {
    pub(super) dtype: DType,
    pub(super) device: &'a Device,
    pub(super) compute: &'a dyn Fn(&Work) -> Result<Tensor>,
}

/// The same values on the device, and in float32 on the CPU.
pub(super) struct Both {
    pub(super) there: Tensor,
    pub(super) here: Tensor,
}

impl Inputs<'_> {
    /// Random values; each seed gives others.
    pub(super) fn random(&self, shape: &[usize], seed: u64) -> Result<Both> {
        let values = normal(seed, shape.iter().product());
        self.both(&Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    pub(super) fn compute(&self, work: Option<Work>) -> Result<Tensor> {
        work.map_or_else(|| bail!("it does not take the check's input"), |work| (self.compute)(&work))
    }

    pub(super) fn both(&self, values: &Tensor) -> Result<Both> {
        let rounded = values.to_dtype(self.dtype)?;
        Ok(Both { there: rounded.to_device(self.device)?, here: rounded.to_dtype(DType::F32)? })
    }
}
