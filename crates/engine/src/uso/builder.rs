//! Builds layers from a part's weights: each matrix in its storage type, with the LoRAs that change it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::lora::Changes;
use crate::matrix::{Activations, Linear, Matrix, Tier};
use crate::placement::Keep;
use crate::stream::PinnedLimit;
use crate::weights::Weights;

/// Device and types of a part.
#[derive(Debug, Clone)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// The compute type.
    pub dtype: DType,
    /// How large matrices are stored.
    pub keep: Keep,
    /// What products with quantised matrices may do to activations on the CPU.
    pub activations: Activations,
    /// Whether blocks on the CPU may be used directly from their file.
    pub in_place: bool,
    /// How much host memory streamed layers may pin; None for as much as they have.
    pub pinned: Option<Arc<PinnedLimit>>,
}

impl Place {
    /// A device and a compute type. All matrices have that type, unless they are quantised in their file.
    pub const fn new(device: Device, dtype: DType) -> Self {
        let (keep, activations) = (Keep::AsStored, Activations::Exact);
        Self { device, dtype, keep, activations, in_place: true, pinned: None }
    }

    /// What products may do to activations: what the tier says, if it says so.
    fn activations(&self) -> Activations {
        match self.keep {
            Keep::Tier(tier) if tier.rounds_activations() => Activations::Rounded,
            _ => self.activations,
        }
    }

    /// The tier for numbers that a file has in wide floats.
    fn tier(&self) -> Tier {
        match self.keep {
            Keep::AsStored => Tier::Bf16,
            Keep::Tier(tier) => tier,
        }
    }
}

/// Builds layers below a name.
#[derive(Clone)]
pub(super) struct Builder<'a> {
    weights: &'a Weights,
    changes: &'a Changes,
    place: &'a Place,
    path: String,
    /// Buffer for reading matrices that keep their stored type but are copied.
    buffer: Rc<RefCell<Vec<u8>>>,
}

impl<'a> Builder<'a> {
    /// A builder for all layers of `weights`.
    pub(super) fn new(weights: &'a Weights, changes: &'a Changes, place: &'a Place) -> Self {
        Self { weights, changes, place, path: String::new(), buffer: Rc::default() }
    }

    /// The builder below a further part of the name.
    #[must_use]
    pub(super) fn pp(&self, name: impl std::fmt::Display) -> Self {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        Self { path, ..self.clone() }
    }

    /// The current name.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The device.
    pub(super) fn device(&self) -> &Device {
        &self.place.device
    }

    /// The compute type.
    pub(super) fn dtype(&self) -> DType {
        self.place.dtype
    }

    /// A tensor in the compute type.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub(super) fn tensor(&self, shape: &[usize], name: &str) -> Result<Tensor> {
        let name = self.pp(name).path;
        let tensor = self.weights.tensor(&name, self.place.dtype, &self.place.device)?;
        if tensor.dims() != shape {
            bail!("tensor {name} has shape {:?}, the configuration asks for {shape:?}", tensor.dims());
        }
        Ok(tensor)
    }

    /// A linear layer whose matrix is small or used only once per picture. It is stored in the compute type.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub(super) fn small_linear(&self, input: usize, output: usize) -> Result<Linear> {
        let matrix = Matrix::Dense(self.wide((output, input))?.to_device(&self.place.device)?);
        Ok(Linear::new(matrix, Some(self.tensor(&[output], "bias")?))?.named(&*self.path))
    }

    /// A linear layer whose matrix is stored in the tier, or as in its file.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub(super) fn linear(&self, input: usize, output: usize, bias: bool) -> Result<Linear> {
        Ok(self.unnamed(input, output, bias)?.named(&*self.path))
    }

    fn unnamed(&self, input: usize, output: usize, bias: bool) -> Result<Linear> {
        let bias = bias.then(|| self.tensor(&[output], "bias")).transpose()?;
        let name = self.pp("weight").path;
        let located = self.weights.located(&name)?;
        let Some(stored) = located.entry.stored else {
            bail!("tensor {name} is {}", located.entry.type_name)
        };
        let (keep, dtype, device) = (self.place.keep, self.place.dtype, &self.place.device);
        if stored.is_wide_float() || keep == Keep::Tier(Tier::Bf16) {
            let tier = self.place.tier();
            let fits = tier.stored().is_none_or(|stored| input.is_multiple_of(stored.block().0));
            let tier = if fits { tier } else { Tier::Bf16 };
            let matrix = Matrix::from_tensor(&self.merged((output, input))?, tier, dtype, device)?;
            return Linear::new(matrix.with_activations(self.place.activations()), bias);
        }
        let Some(scale) = located.single_scale()? else {
            // With a scale for each row, the scaled numbers are stored.
            return Linear::new(Matrix::Dense(self.wide((output, input))?.to_device(device)?), bias);
        };
        self.check_shape(&name, &[output, input])?;
        let may_stay = self.place.in_place && device.is_cpu() && scale.is_none();
        let matrix = match if may_stay { located.in_place()? } else { None } {
            Some(blocks) => Matrix::from_blocks(stored, (output, input), blocks)?,
            None => {
                let mut buffer = self.buffer.borrow_mut();
                let bytes = located.read_into(&mut buffer)?;
                Matrix::from_bytes(stored, (output, input), bytes, scale, dtype, device)?
            }
        };
        let branches = self.changes.of(&self.path).iter().map(|change| change.branch(dtype, device));
        branches.into_iter().try_fold(
            Linear::new(matrix.with_activations(self.place.activations()), bias)?,
            |layer, branch| layer.with_branch(branch?),
        )
    }

    /// The matrix in the compute type, with the changes added.
    fn wide(&self, shape: (usize, usize)) -> Result<Tensor> {
        self.merged(shape)?.to_dtype(self.place.dtype)
    }

    /// The matrix with the changes added, in host memory. The sum is computed in float32: in half precision it would
    /// lose most of a small change.
    fn merged(&self, (output, input): (usize, usize)) -> Result<Tensor> {
        let name = self.pp("weight").path;
        self.check_shape(&name, &[output, input])?;
        let changes = self.changes.of(&self.path);
        let is_exact = changes.is_empty() && self.place.tier() == Tier::Bf16;
        let dtype = if is_exact { self.place.dtype } else { DType::F32 };
        let weight = self.weights.tensor(&name, dtype, &Device::Cpu)?;
        changes.iter().try_fold(weight, |weight, change| change.add_to(&weight))
    }

    fn check_shape(&self, name: &str, asked: &[usize]) -> Result<()> {
        match self.weights.shape(name) {
            Some(shape) if shape != asked => {
                bail!("tensor {name} has shape {shape:?}, the configuration asks for {asked:?}")
            }
            _ => Ok(()),
        }
    }
}
