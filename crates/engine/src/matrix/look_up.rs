//! Tables with the number for each of 256 codes.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// The number of each code, in the type of the table.
pub(super) fn look_up(codes: &Tensor, table: &Tensor) -> Result<Tensor> {
    if codes.device().is_cpu() {
        return codes.apply_op2_no_bwd(table, &LookUp);
    }
    table.index_select(&codes.flatten_all()?, 0)?.reshape(codes.shape())
}

/// [`look_up`] on the CPU, where candle's own copies number by number.
struct LookUp;

impl CustomOp2 for LookUp {
    fn name(&self) -> &'static str {
        "fp8-look-up"
    }

    fn cpu_fwd(
        &self,
        codes: &CpuStorage,
        codes_layout: &Layout,
        table: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = codes_layout.contiguous_offsets() else { bail!("codes are not contiguous") };
        let codes = &codes.as_slice::<u8>()?[start..end];
        let values = match table {
            CpuStorage::F32(table) => CpuStorage::F32(each(codes, table)),
            CpuStorage::F16(table) => CpuStorage::F16(each(codes, table)),
            CpuStorage::BF16(table) => CpuStorage::BF16(each(codes, table)),
            other => bail!("no weights in {:?}", candle_core::backend::BackendStorage::dtype(other)),
        };
        Ok((values, codes_layout.shape().clone()))
    }
}

fn each<T: Copy>(codes: &[u8], table: &[T]) -> Vec<T> {
    codes.iter().map(|code| table[usize::from(*code)]).collect()
}
