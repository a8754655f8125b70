//! Checks of what a matrix is made from.

use candle_core::{D, DType, Device, Result, Tensor, bail};

use crate::weights::StoredType;

pub(super) fn check_rows(stored: StoredType, columns: usize) -> Result<()> {
    let (block, _) = stored.block();
    if !columns.is_multiple_of(block) {
        bail!("rows of {columns} numbers are not whole blocks of {stored}, which have {block}");
    }
    Ok(())
}

/// All numbers of a weight in f32 on the host.
pub(super) fn on_host(weight: &Tensor) -> Result<Vec<f32>> {
    let values: Vec<f32> = weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    match values.chunks(weight.dim(D::Minus1)?).position(|row| row.iter().any(|value| !value.is_finite())) {
        None => Ok(values),
        Some(row) => bail!("row {row} of a matrix {:?} has a number that is not finite", weight.dims()),
    }
}
