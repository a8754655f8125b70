//! An encoder that stays on the device, or is copied there for each use.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::builder::Place;
use crate::placement;
use crate::weights::Weights;

/// A part that a picture needs only once.
pub(super) enum LoadedPart<T> {
    /// It stays on the device.
    Resident(T),
    /// Its weights stay in the host's memory; a copy is on the device while it is used.
    PerUse(Box<dyn Fn() -> Result<T>>),
}

impl<T> LoadedPart<T> {
    /// Builds the part from `weights`, once or for each use. Either way, faults in them are found now.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub(super) fn new(
        weights: &Weights,
        place: &Place,
        lies: placement::Place,
        build: impl Fn(VarBuilder) -> Result<T> + 'static,
    ) -> Result<Self> {
        let (dtype, device) = (place.dtype, place.device.clone());
        match lies {
            placement::Place::Device => build(weights.builder(dtype, &device)).map(Self::Resident),
            placement::Place::Host => {
                let copies = HostCopies { weights: weights.clone(), tensors: Mutex::default() };
                let host = VarBuilder::from_backend(Box::new(copies), dtype, device);
                let load = move || build(host.clone());
                load()?;
                Ok(Self::PerUse(Box::new(load)))
            }
        }
    }

    /// Runs `work` with the part on the device.
    ///
    /// # Errors
    /// The error of `work`, or that the part cannot be copied to the device.
    pub(super) fn with<R>(&self, work: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        match self {
            Self::Resident(part) => work(part),
            Self::PerUse(load) => work(&load()?),
        }
    }
}

/// Tensors in host memory, in the type in which they are used, kept after the first request.
struct HostCopies {
    weights: Weights,
    tensors: Mutex<HashMap<String, Tensor>>,
}

impl HostCopies {
    fn copy(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let mut tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = tensors.get(name).filter(|tensor| tensor.dtype() == dtype) {
            return Ok(tensor.clone());
        }
        let tensor = self.weights.tensor(name, dtype, &Device::Cpu)?;
        tensors.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }
}

impl SimpleBackend for HostCopies {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.copy(name, dtype)?;
        if tensor.shape() != &shape {
            let (has, asked) = (tensor.dims(), shape.dims());
            bail!("tensor {name} has shape {has:?}, the configuration asks for {asked:?}");
        }
        tensor.to_device(device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.copy(name, dtype)?.to_device(device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.weights.contains(name)
    }
}
