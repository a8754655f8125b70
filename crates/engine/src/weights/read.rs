//! Turns stored bytes into plain numbers.

use std::borrow::Cow;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{D, DType, Device, Result, Tensor, bail};

use sha2::{Digest, Sha256};

use super::{Entry, Located, StoredType};

/// Number of places to read of a large tensor, and bytes of each.
const PLACES: u64 = 16;
const LENGTH: u64 = 4096;

impl Located {
    /// Its bytes as stored. Their number was checked against the file before.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut buffer = Vec::new();
        self.read_into(&mut buffer)?;
        Ok(buffer)
    }

    /// The same in a reused buffer: fresh memory costs as much as the copy into it.
    pub(crate) fn read_into<'a>(&self, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let Entry { start, bytes, .. } = &self.entry;
        let bytes = usize::try_from(*bytes)?;
        if buffer.len() < bytes {
            // Zeroed by the operating system, and nothing is copied.
            *buffer = vec![0; bytes];
        }
        let wanted = &mut buffer[..bytes];
        self.file.source.read_at(wanted, *start)?;
        Ok(wanted)
    }

    /// Adds enough of its bytes to a digest to tell two trained models apart: all bytes of a small tensor, and some at
    /// many places of a large one, so that 30 GB need not be read.
    pub(crate) fn probe(&self, digest: &mut Sha256) -> Result<()> {
        let Entry { bytes, type_name, shape, .. } = &self.entry;
        digest.update(format!("{type_name} {shape:?} {bytes}"));
        self.probe_numbers(digest)?;
        self.scale.as_ref().map_or(Ok(()), |scale| scale.probe(digest))
    }

    /// The same of its numbers alone, whatever its file calls their type.
    pub(crate) fn probe_numbers(&self, digest: &mut Sha256) -> Result<()> {
        let Entry { start, bytes, .. } = &self.entry;
        let step = if *bytes <= PLACES * LENGTH { LENGTH } else { bytes / PLACES };
        let mut buffer = [0; LENGTH as usize];
        for place in (0..*bytes).step_by(usize::try_from(step)?) {
            let length = LENGTH.min(bytes - place) as usize;
            self.file.source.read_at(&mut buffer[..length], start + place)?;
            digest.update(&buffer[..length]);
        }
        Ok(())
    }

    /// Its numbers in host memory, scaled.
    pub(super) fn tensor(&self, dtype: DType) -> Result<Tensor> {
        let Some(stored) = self.entry.stored else {
            bail!("tensor {} is {}", self.name, self.entry.type_name)
        };
        let plain = plain(stored, &self.entry.shape, &self.bytes()?)?;
        match self.scales()? {
            None => plain.to_dtype(dtype),
            // The product is rounded once, to the requested type.
            Some(scales) => plain.to_dtype(DType::F32)?.broadcast_mul(&scales)?.to_dtype(dtype),
        }
    }

    /// The single factor of its numbers, or none if it has no factor; None if it has one for each row.
    pub(crate) fn single_scale(&self) -> Result<Option<Option<f32>>> {
        let Some(scales) = self.scales()? else { return Ok(Some(None)) };
        if scales.elem_count() > 1 {
            return Ok(None);
        }
        Ok(Some(Some(scales.flatten_all()?.get(0)?.to_scalar()?)))
    }

    /// The factors of its numbers in float32: of shape (1) or (rows, 1).
    pub(crate) fn scales(&self) -> Result<Option<Tensor>> {
        let Some(scale) = &self.scale else { return Ok(None) };
        let scales = scale.tensor(DType::F32)?.flatten_all()?;
        if scales.elem_count() == 1 { Ok(Some(scales)) } else { scales.unsqueeze(D::Minus1).map(Some) }
    }
}

/// A lookup table in host memory, in its stored type.
pub(crate) struct Table {
    stored: StoredType,
    width: usize,
    bytes: Vec<u8>,
    scales: Option<Tensor>,
}

impl Table {
    /// Reads a complete matrix.
    pub(crate) fn read(located: &Located) -> Result<Self> {
        let Some(stored) = located.entry.stored else {
            bail!("tensor {} is {}", located.name, located.entry.type_name)
        };
        let width = located.entry.shape.last().copied().unwrap_or(1);
        Ok(Self { stored, width, bytes: located.bytes()?, scales: located.scales()? })
    }

    /// The rows with these ids: (ids, width), in host memory.
    pub(crate) fn rows(&self, ids: &[u32], dtype: DType) -> Result<Tensor> {
        let (elements, size) = self.stored.block();
        let row = self.width / elements * size;
        let mut gathered = Vec::with_capacity(ids.len() * row);
        for id in ids {
            let start = *id as usize * row;
            let Some(bytes) = self.bytes.get(start..start + row) else {
                bail!("id {id} is beyond the table")
            };
            gathered.extend_from_slice(bytes);
        }
        let rows = plain(self.stored, &[ids.len(), self.width], &gathered)?;
        match &self.scales {
            None => rows.to_dtype(dtype),
            Some(scales) if scales.elem_count() == 1 => {
                rows.to_dtype(DType::F32)?.broadcast_mul(scales)?.to_dtype(dtype)
            }
            Some(scales) => {
                let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
                rows.to_dtype(DType::F32)?.broadcast_mul(&scales.index_select(&ids, 0)?)?.to_dtype(dtype)
            }
        }
    }
}

fn plain(stored: StoredType, shape: &[usize], bytes: &[u8]) -> Result<Tensor> {
    if let Some(blocks) = stored.quantised() {
        let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, blocks)?;
        return QTensor::new(storage, shape)?.dequantize(&Device::Cpu);
    }
    if stored == StoredType::F8E5M2 {
        // Candle does not know them: each is the upper half of a float16.
        let halves: Vec<u8> = bytes.iter().flat_map(|code| [0, *code]).collect();
        return Tensor::from_raw_buffer(&halves, DType::F16, shape, &Device::Cpu);
    }
    let dtype = match stored {
        StoredType::U8 | StoredType::Bool => DType::U8,
        StoredType::I64 => DType::I64,
        StoredType::F8E4M3 => DType::F8E4M3,
        StoredType::F16 => DType::F16,
        StoredType::BF16 => DType::BF16,
        StoredType::F32 => DType::F32,
        StoredType::F64 => DType::F64,
        other => bail!("numbers of type {other} cannot be read"),
    };
    Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_e5m2_has_the_value_of_ml_dtypes() {
        let file = include_bytes!("../../tests/fixtures/ggml/fp8.safetensors");
        let recorded = candle_core::safetensors::load_buffer(file, &Device::Cpu).unwrap();
        let codes: Vec<u8> = (0..=255).collect();
        let ours = plain(StoredType::F8E5M2, &[2, 128], &codes).unwrap();
        assert_eq!(ours.dims(), [2, 128]);
        let ours = ours.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let theirs: Vec<f32> = recorded[&format!("{}.values", StoredType::F8E5M2)].to_vec1().unwrap();
        for (code, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
            let same = ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan());
            assert!(same, "{code:#04x}: {ours} instead of {theirs}");
        }
    }
}
