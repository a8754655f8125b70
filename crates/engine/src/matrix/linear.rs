//! Linear layers over matrices in any tier, with the low-rank side branches of LoRAs.

use std::ops::Range;
use std::slice::from_ref;

use candle_core::{D, Device, Result, Tensor, bail};

use super::Matrix;
use super::branch::{Branch, bytes};
use crate::cpu;
use crate::replace::{HasTensors, Replace, ToDevice};

/// `y = x W^T + b`, plus what its side branches add.
#[derive(Debug, Clone)]
pub struct Linear {
    name: String,
    matrix: Matrix,
    bias: Option<Tensor>,
    branches: Vec<Branch>,
}

impl Linear {
    /// A layer without side branches. `bias`: (out).
    ///
    /// # Errors
    /// If the bias does not fit the matrix.
    pub fn new(matrix: Matrix, bias: Option<Tensor>) -> Result<Self> {
        let (rows, _) = matrix.shape();
        match &bias {
            Some(bias) if bias.dims() != [rows] => {
                bail!("a bias of shape {:?} does not fit a matrix of {rows} rows", bias.dims())
            }
            _ => Ok(Self { name: String::new(), matrix, bias, branches: Vec::new() }),
        }
    }

    /// The same layer with the name that side branches of a sample refer to.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Its name in the transformer, without `.weight`; empty if it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a permanent side branch.
    ///
    /// # Errors
    /// If it does not fit the matrix.
    pub fn with_branch(mut self, branch: Branch) -> Result<Self> {
        branch.check(self.matrix.shape())?;
        self.branches.push(branch);
        Ok(self)
    }

    /// The weights.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// The permanent side branches.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// `x`: (.., in) to (.., out), in the type of `x`.
    ///
    /// # Errors
    /// If a shape does not fit or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &[])
    }

    /// As [`Linear::forward`], with the side branches of one sample in addition to the layer's own.
    ///
    /// # Errors
    /// If a shape does not fit or the device fails.
    pub fn forward_with(&self, x: &Tensor, more: &[Branch]) -> Result<Tensor> {
        let mut y = match self.here(x) {
            Some(weight) => {
                let flat = x.reshape(((), weight.dim(1)?))?;
                with_last(&cpu::tensors::linear(&flat, weight, self.bias.as_ref())?, x)?
            }
            None => match self.on_device(from_ref(x), &self.rows(), false)? {
                Some(y) => y,
                None => self.one_by_one(x)?,
            },
        };
        for branch in self.branches.iter().chain(more) {
            y = branch.add_to(y, from_ref(x))?;
        }
        Ok(y)
    }

    /// The product, then its bias.
    fn one_by_one(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.matrix.forward(x)?;
        match &self.bias {
            Some(bias) if cpu::are_here([&y, bias]) => cpu::tensors::add_bias(y, bias),
            Some(bias) => y.broadcast_add(&bias.to_dtype(y.dtype())?),
            None => Ok(y),
        }
    }

    /// Whether computing some of its outputs for `x` takes the part of the time that they are of all.
    pub fn is_divisible(&self, x: &Tensor) -> bool {
        self.here(x).is_some() || self.is_divisible_on_device(x)
    }

    /// Some of the outputs of [`Linear::forward_with`].
    ///
    /// # Errors
    /// If a shape does not fit or the device fails.
    pub fn forward_rows(&self, x: &Tensor, rows: Range<usize>, more: &[Branch]) -> Result<Tensor> {
        let mut y = match self.here(x) {
            Some(weight) => {
                let bias = self.some_bias(&rows)?;
                let weight = weight.narrow(0, rows.start, rows.len())?;
                let flat = x.reshape(((), weight.dim(1)?))?;
                with_last(&cpu::tensors::linear(&flat, &weight, bias.as_ref())?, x)?
            }
            None => match self.on_device(from_ref(x), &rows, false)? {
                Some(y) => y,
                None => return self.forward_with(x, more)?.narrow(D::Minus1, rows.start, rows.len()),
            },
        };
        for branch in self.branches.iter().chain(more) {
            if let Some(branch) = branch.within(&rows)? {
                y = branch.add_to(y, from_ref(x))?;
            }
        }
        Ok(y)
    }

    /// GELU, in its tanh form, of some of the outputs, if a device computes it with the product. None if it does not, or
    /// if a side branch changes them: it counts before GELU.
    ///
    /// # Errors
    /// If a shape does not fit or the device fails.
    pub fn gelu_on_device(&self, x: &Tensor, rows: &Range<usize>, more: &[Branch]) -> Result<Option<Tensor>> {
        if self.branches.iter().chain(more).any(|branch| branch.changes(rows)) {
            return Ok(None);
        }
        self.on_device(from_ref(x), rows, true)
    }

    /// As [`Linear::forward_with`] for an input whose columns are in several parts (samples, tokens, ..).
    ///
    /// # Errors
    /// If a shape does not fit or the device fails.
    pub fn forward_parts(&self, parts: &[Tensor], more: &[Branch]) -> Result<Tensor> {
        let has_branches = !self.branches.is_empty() || !more.is_empty();
        match parts.first().and_then(|part| Some((part, self.here(part)?))) {
            Some((first, weight)) if !has_branches => {
                let flat = parts.iter().map(|part| part.flatten_to(1)).collect::<Result<Vec<_>>>()?;
                return with_last(&cpu::tensors::linear_of_parts(&flat, weight, self.bias.as_ref())?, first);
            }
            _ => {}
        }
        let Some(mut y) = self.on_device(parts, &self.rows(), false)? else {
            return self.forward_with(&Tensor::cat(parts, D::Minus1)?, more);
        };
        for branch in self.branches.iter().chain(more) {
            y = branch.add_to(y, parts)?;
        }
        Ok(y)
    }

    /// All of its outputs.
    fn rows(&self) -> Range<usize> {
        0..self.matrix.shape().0
    }

    /// Whether it has a bias.
    pub(super) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// The bias of some of its outputs.
    pub(super) fn some_bias(&self, rows: &Range<usize>) -> Result<Option<Tensor>> {
        self.bias.as_ref().map(|bias| bias.narrow(0, rows.start, rows.len())).transpose()
    }

    /// The weights, if all of the product is in host memory in float32.
    fn here(&self, x: &Tensor) -> Option<&Tensor> {
        match &self.matrix {
            Matrix::Dense(weight) if cpu::are_here([x, weight].into_iter().chain(&self.bias)) => Some(weight),
            _ => None,
        }
    }

    /// The same layer on another device.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        self.replaced(&mut ToDevice(device))
    }

    /// Bytes that it takes on its device.
    pub fn bytes(&self) -> u64 {
        let branches = self.branches.iter().map(Branch::bytes);
        self.matrix.bytes() + self.bias.as_ref().map_or(0, bytes) + branches.sum::<u64>()
    }
}

impl HasTensors for Linear {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self {
            name: self.name.clone(),
            matrix: self.matrix.replaced(by)?,
            bias: self.bias.as_ref().map(|bias| by.tensor(bias)).transpose()?,
            branches: self.branches.iter().map(|branch| branch.replaced(by)).collect::<Result<_>>()?,
        })
    }
}

/// `y` (tokens, out) in the shape of `x` (.., in) but for its last dimension.
fn with_last(y: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = y.dim(1)?;
    }
    y.reshape(shape)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::noise::normal;

    #[test]
    fn outputs_and_inputs_in_parts_are_those_of_the_whole() {
        let tensor = |seed, shape: (usize, usize)| {
            Tensor::from_vec(normal(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap()
        };
        let (tokens, into, out) = (5, 33, 70);
        let bias = tensor(1, (1, out)).squeeze(0).unwrap();
        let plain = Linear::new(Matrix::Dense(tensor(2, (out, into))), Some(bias)).unwrap();
        let branch = Branch::new(&tensor(3, (2, into)), &tensor(4, (40, 2)), 0.5, 20, DType::F32).unwrap();
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let near = |ours: &Tensor, theirs: &Tensor| {
            assert_eq!(ours.dims(), theirs.dims());
            assert!(
                numbers(ours).iter().zip(numbers(theirs)).all(|(ours, theirs)| (ours - theirs).abs() < 1e-4)
            );
        };
        let x = tensor(5, (tokens, into)).unsqueeze(0).unwrap();
        let wide = x.broadcast_matmul(&tensor(2, (out, into)).t().unwrap()).unwrap();
        let wide = wide.broadcast_add(&tensor(1, (1, out)).squeeze(0).unwrap()).unwrap();
        near(&plain.forward(&x).unwrap(), &wide);
        for more in [&[][..], &[branch]] {
            let whole = plain.forward_with(&x, more).unwrap();
            for rows in [0..10, 10..25, 25..50, 55..70, 0..70] {
                let theirs = whole.narrow(D::Minus1, rows.start, rows.len()).unwrap();
                near(&plain.forward_rows(&x, rows, more).unwrap(), &theirs);
            }
            let parts = [0..3, 3..20, 20..33].map(|own| x.narrow(2, own.start, own.len()).unwrap());
            near(&plain.forward_parts(&parts, more).unwrap(), &whole);
        }
        assert!(plain.forward_parts(&[x.narrow(2, 0, 20).unwrap()], &[]).is_err());
    }

    #[test]
    fn a_copy_is_the_same_layer() {
        let tensor = |shape: (usize, usize)| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let branch = Branch::new(&tensor((2, 3)), &tensor((4, 2)), 0.5, 0, DType::F32).unwrap();
        let bias = tensor((1, 4)).flatten_all().unwrap();
        let layer = Linear::new(Matrix::Dense(tensor((4, 3))), Some(bias)).unwrap().named("a.layer");
        let layer = layer.with_branch(branch).unwrap();
        let copy = layer.to_device(&Device::Cpu).unwrap();
        assert_eq!((copy.name(), copy.bytes()), ("a.layer", layer.bytes()));
        let results =
            [layer, copy].map(|layer| layer.forward(&tensor((1, 3))).unwrap().to_vec2::<f32>().unwrap());
        assert_eq!(results[0], results[1]);
    }
}
