//! The low-rank side branches of LoRAs.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor, bail};

use crate::replace::{HasTensors, Replace, ToDevice};

/// A low-rank side branch (LoRA, arXiv 2106.09685, section 4.1): `scale * (x down^T) up^T`, added to some of the
/// output's columns.
///
/// Used instead of merging if weights are not wide floats, because rounding to their grid would lose the sum.
#[derive(Debug, Clone)]
pub struct Branch {
    /// (rank, in).
    down: Tensor,
    /// (rows, rank), times the scale.
    up: Tensor,
    /// The first row of the matrix that it belongs to.
    start: usize,
}

impl Branch {
    /// The branch of `down` (rank, in) and `up` (rows, rank) for the rows `start..start + rows` of a matrix, in the
    /// compute type `dtype`.
    ///
    /// # Errors
    /// If the two are not matrices of one rank.
    pub fn new(down: &Tensor, up: &Tensor, scale: f64, start: usize, dtype: DType) -> Result<Self> {
        let ((rank, _), (_, up_rank)) = (down.dims2()?, up.dims2()?);
        if rank != up_rank {
            bail!("a LoRA's down {:?} and up {:?} differ in rank", down.dims(), up.dims());
        }
        // Scaled in f32: scaling after the cast would round twice.
        let up = (up.to_dtype(DType::F32)? * scale)?.to_dtype(dtype)?;
        Ok(Self { down: down.to_dtype(dtype)?, up, start })
    }

    /// The same branch on a device, without a copy if it is already there.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        self.replaced(&mut ToDevice(device))
    }

    /// Whether it is on a device.
    pub fn is_on(&self, device: &Device) -> bool {
        self.up.device().same_device(device)
    }

    /// Bytes that it takes on its device.
    pub fn bytes(&self) -> u64 {
        bytes(&self.down) + bytes(&self.up)
    }

    /// Refuses a branch that does not fit a matrix (out, in).
    ///
    /// # Errors
    /// Names both shapes.
    pub fn check(&self, (rows, columns): (usize, usize)) -> Result<()> {
        let (own, into) = (self.up.dim(0)?, self.down.dim(1)?);
        let end = self.start.checked_add(own);
        if into != columns || end.is_none_or(|end| end > rows) {
            let start = self.start;
            bail!("a LoRA ({own}, {into}) from row {start} on does not fit a matrix ({rows}, {columns})");
        }
        Ok(())
    }

    /// What it adds to these rows of the matrix, as a branch of a matrix that has them alone.
    pub(super) fn within(&self, rows: &Range<usize>) -> Result<Option<Self>> {
        let own = self.start..self.start + self.up.dim(0)?;
        let common = own.start.max(rows.start)..own.end.min(rows.end);
        if common.is_empty() {
            return Ok(None);
        }
        let up = self.up.narrow(0, common.start - own.start, common.len())?;
        Ok(Some(Self { down: self.down.clone(), up, start: common.start - rows.start }))
    }

    /// Whether it changes some of these rows.
    pub(super) fn changes(&self, rows: &Range<usize>) -> bool {
        let own = self.start..self.start + self.up.dims()[0];
        own.start < rows.end && rows.start < own.end
    }

    /// Adds it to `y` (.., out) for the layer's input, whose columns are in parts (.., columns). Nobody else may hold
    /// `y`.
    pub(super) fn add_to(&self, y: Tensor, parts: &[Tensor]) -> Result<Tensor> {
        let added = self.narrow_product(parts)?.matmul(&self.up.t()?)?.to_dtype(y.dtype())?;
        let (rows, mut shape) = (added.dim(1)?, y.dims().to_vec());
        if shape.last() == Some(&rows) {
            return y + added.reshape(shape)?;
        }
        if let Some(width) = shape.last_mut() {
            *width = rows;
        }
        // In place, so that other columns are not copied.
        let sum = (y.narrow(D::Minus1, self.start, rows)? + added.reshape(shape)?)?;
        y.slice_set(&sum, D::Minus1, self.start)?;
        Ok(y)
    }
}

impl Branch {
    /// `x down^T` (tokens, rank) for an input in parts.
    fn narrow_product(&self, parts: &[Tensor]) -> Result<Tensor> {
        let multiply = |x: &Tensor, down: &Tensor| {
            let flat = x.reshape(((), x.dim(D::Minus1)?))?.to_dtype(down.dtype())?;
            flat.matmul(&down.t()?)
        };
        if let [whole] = parts {
            return multiply(whole, &self.down);
        }
        let (mut sum, mut start): (Option<Tensor>, usize) = (None, 0);
        for part in parts {
            let width = part.dim(D::Minus1)?;
            let product = multiply(part, &self.down.narrow(1, start, width)?.contiguous()?)?;
            sum = Some(if let Some(sum) = sum { (sum + product)? } else { product });
            start += width;
        }
        sum.map_or_else(|| bail!("a side branch has no input"), Ok)
    }
}

impl HasTensors for Branch {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { down: by.tensor(&self.down)?, up: by.tensor(&self.up)?, start: self.start })
    }
}

/// Bytes of a tensor.
pub(super) fn bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::normal;

    #[test]
    fn a_side_branch_reads_an_input_in_parts() {
        let tensor = |seed, shape: (usize, usize)| {
            Tensor::from_vec(normal(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap()
        };
        let branch = Branch::new(&tensor(1, (2, 33)), &tensor(2, (40, 2)), 0.5, 20, DType::F32).unwrap();
        let x = tensor(3, (5, 33)).unsqueeze(0).unwrap();
        let parts = [0..3, 3..20, 20..33].map(|own| x.narrow(2, own.start, own.len()).unwrap());
        let added = |parts: &[Tensor]| {
            let y = Tensor::zeros((1, 5, 70), DType::F32, &Device::Cpu).unwrap();
            branch.add_to(y, parts).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (whole, apart) = (added(&[x]), added(&parts));
        assert!(whole.iter().zip(apart).all(|(whole, apart)| (whole - apart).abs() < 1e-4));
        assert!(whole.iter().any(|value| value.abs() > 0.1), "it adds nothing");
        assert!(branch.changes(&(50..70)) && !branch.changes(&(0..20)) && !branch.changes(&(60..70)));
    }
}
