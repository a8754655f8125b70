//! Named tensors of one part of a model, read from the files that hold them.

mod contents;
mod gguf;
mod header;
mod mapped;
mod pickle;
mod read;
mod safetensors;
mod source;
mod stored;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use sha2::{Digest, Sha256};

pub use self::contents::{Container, Entry, Header};
use self::gguf::gguf_number;
pub(crate) use self::mapped::bytes_mapped;
pub(crate) use self::read::Table;
use self::safetensors::safetensors_name;
pub(crate) use self::source::Source;
pub use self::source::bytes_read;
pub use self::stored::StoredType;
pub use self::write::{GGUF_ALIGNMENT, Placed, gguf_header, safetensors_header};
use crate::Error;
use crate::error::message;

/// An open weight file and its header.
#[derive(Debug)]
pub(crate) struct WeightFile {
    /// Its path in the model folder.
    pub(crate) path: String,
    pub(crate) source: Source,
    pub(crate) header: Header,
}

impl WeightFile {
    /// Opens a file and reads its header; `place` is its path on disk.
    pub(crate) fn open(path: String, source: Source, place: &Path) -> std::result::Result<Self, String> {
        let header = Header::read(&source, place)?;
        Ok(Self { path, source, header })
    }

    /// SHA-256 in hexadecimal of the bytes of all tensors, in the order of the file.
    pub(crate) fn digest(&self) -> std::io::Result<String> {
        let mut entries: Vec<&Entry> = self.header.tensors.values().collect();
        entries.sort_by_key(|entry| entry.start);
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        for entry in entries {
            let end = entry.start.saturating_add(entry.bytes);
            for start in (entry.start..end).step_by(buffer.len()) {
                let piece = (end - start).min(buffer.len() as u64) as usize;
                self.source.read_at(&mut buffer[..piece], start)?;
                digest.update(&buffer[..piece]);
            }
        }
        Ok(hex::encode(digest.finalize()))
    }

    /// The first fault of its tensors' bytes, in the order of the file.
    pub(crate) fn fault(&self) -> Option<String> {
        let bytes = self.source.len();
        let faults = self
            .header
            .tensors
            .iter()
            .filter_map(|(name, entry)| Some((entry.start, self.header.fault(name, bytes)?)));
        faults.min_by_key(|(start, _)| *start).map(|(_, reason)| reason)
    }
}

/// A tensor in one of the files of a part.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// The file that it is in.
    pub(crate) file: Arc<WeightFile>,
    /// Its name in that file.
    pub(crate) name: String,
    pub(crate) entry: Entry,
    /// The factor of its numbers, if the file has one: a single number, or one per row.
    pub(crate) scale: Option<Box<Located>>,
}

/// The tensors of one part of a model, under the part's own names.
#[derive(Clone)]
pub struct Weights(Arc<BTreeMap<String, Located>>, PathBuf);

impl Weights {
    pub(crate) fn new(file: impl Into<PathBuf>, tensors: BTreeMap<String, Located>) -> Self {
        Self(Arc::new(tensors), file.into())
    }

    /// The path of the part's first file in the model folder.
    pub fn file(&self) -> &Path {
        &self.1
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How a tensor is stored, if it is there.
    pub fn stored(&self, name: &str) -> Option<StoredType> {
        self.0.get(name)?.entry.stored
    }

    /// Shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(|located| located.entry.shape.as_slice())
    }

    /// All tensors by their names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Located)> {
        self.0.iter()
    }

    pub(crate) fn located(&self, name: &str) -> Result<&Located> {
        let Some(located) = self.0.get(name) else { bail!("tensor {name} is missing") };
        Ok(located)
    }

    /// A tensor of any shape as plain numbers, whatever its stored type.
    ///
    /// # Errors
    /// If the name is not there or its bytes cannot be read.
    pub fn tensor(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.located(name)?.tensor(dtype)?.to_device(device)
    }

    /// A builder over these tensors.
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// Adds the file's name to an error from building a part of these weights.
    pub fn fault(&self, error: &candle_core::Error) -> Error {
        // The innermost error has the reason.
        let reason = message(error);
        let reason = reason.lines().next().unwrap_or(&reason).to_owned();
        match Error::from(candle_core::Error::msg(&reason)) {
            full @ Error::OutOfMemory { .. } => full,
            _ => Error::Weights { file: self.1.clone(), reason },
        }
    }
}

impl SimpleBackend for Weights {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let tensor = self.tensor(name, dtype, device)?;
        if tensor.shape() != &shape {
            bail!(
                "tensor {name} has shape {:?}, the configuration asks for {:?}",
                tensor.dims(),
                shape.dims()
            );
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.tensor(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.contains(name)
    }
}

/// Weights of these names and shapes with random numbers in float32, in memory.
#[cfg(test)]
pub(crate) fn random_weights(tensors: Vec<(String, Vec<usize>)>) -> Weights {
    let mut header = BTreeMap::new();
    let mut data: Vec<u8> = Vec::new();
    let all: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let mut numbers = crate::noise::normal(7, all).into_iter();
    for (name, shape) in tensors {
        let start = data.len() as u64;
        let count = shape.iter().product();
        data.extend(numbers.by_ref().take(count).flat_map(|number| (0.05 * number).to_le_bytes()));
        let stored = StoredType::F32;
        let entry = Entry {
            stored: Some(stored),
            type_name: "F32".into(),
            shape,
            start,
            bytes: data.len() as u64 - start,
        };
        header.insert(name, entry);
    }
    let header = Header { container: Container::Safetensors, tensors: header, metadata: BTreeMap::new() };
    let file = Arc::new(WeightFile { path: "random".into(), source: Source::Bundled(data.leak()), header });
    let located = file.header.tensors.iter().map(|(name, entry)| {
        (
            name.clone(),
            Located { file: Arc::clone(&file), name: name.clone(), entry: entry.clone(), scale: None },
        )
    });
    Weights::new("random", located.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_is_not_a_fault_of_a_file() {
        let weights = Weights::new("x.gguf", BTreeMap::new());
        let full = candle_core::Error::msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert!(matches!(weights.fault(&full), Error::OutOfMemory { .. }));
        assert!(matches!(weights.fault(&full.bt()), Error::OutOfMemory { .. }), "with a backtrace too");
        let said = weights.fault(&candle_core::Error::msg("tensor y is missing")).to_string();
        assert!(said.contains("x.gguf") && said.contains("tensor y is missing"), "{said}");
    }
}
