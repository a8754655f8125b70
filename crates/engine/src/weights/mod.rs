//! Named tensors of a model file, mapped rather than read, and an account of which were used.

mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::{MmapedSafetensors, SliceSafetensors};
use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

pub use self::stored::StoredType;
use crate::files::missing;
use crate::{Error, ModelFiles};

/// The tensors of one checkpoint: a safetensors file, its shards, or a PyTorch pickle.
#[derive(Clone)]
pub struct Weights(Arc<Inner>);

struct Inner {
    file: PathBuf,
    tensors: Tensors,
    names: BTreeSet<String>,
    used: Mutex<BTreeSet<String>>,
}

enum Tensors {
    Mapped(MmapedSafetensors),
    Bundled(SliceSafetensors<'static>),
    Pickled(Vec<PthTensors>),
}

#[derive(serde::Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens `path` inside the model, or the shards that `path.index.json` lists.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if neither is there or the header does not parse.
    pub fn open(files: &ModelFiles, path: &str) -> std::result::Result<Self, Error> {
        Self::open_first(files, &[path])
    }

    /// Opens the first of several names for the same checkpoint that is there.
    ///
    /// # Errors
    /// [`Error::ModelFile`], naming the first, if none is there or a header does not parse.
    pub fn open_first(files: &ModelFiles, paths: &[&str]) -> std::result::Result<Self, Error> {
        for path in paths {
            if files.contains(path) {
                return Self::read(files, path, &[(*path).to_owned()]);
            }
            let index = format!("{path}.index.json");
            if files.contains(&index) {
                return Self::read(files, path, &shards(files, &index)?);
            }
        }
        Err(missing(paths.join(" or "), "not found"))
    }

    fn read(files: &ModelFiles, path: &str, parts: &[String]) -> std::result::Result<Self, Error> {
        let unreadable = |error: candle_core::Error| missing(path, error.to_string());
        let tensors = match files {
            ModelFiles::Bundled => bundled(files, path)?,
            ModelFiles::Folder(folder) if path.ends_with(".bin") => Tensors::Pickled(
                parts
                    .iter()
                    .map(|part| PthTensors::new(folder.join(part), None).map_err(unreadable))
                    .collect::<std::result::Result<_, _>>()?,
            ),
            ModelFiles::Folder(folder) => map(folder, parts).map_err(unreadable)?,
        };
        let names = tensors.names();
        let (file, used) = (PathBuf::from(path), Mutex::default());
        Ok(Self(Arc::new(Inner { file, tensors, names, used })))
    }

    /// The checkpoint's path inside the model.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// All names in the checkpoint.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.0.names
    }

    /// A tensor of any shape, marked as used.
    ///
    /// # Errors
    /// If the name is not in the checkpoint or its data cannot be read.
    pub fn tensor(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.0.tensors.load(name, device)?;
        let Some(tensor) = tensor else { bail!("tensor {name} is missing") };
        self.used().insert(name.to_owned());
        tensor.to_dtype(dtype)
    }

    /// A builder whose tensors come from here.
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// Names that nothing has asked for.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used();
        self.0.names.iter().filter(|name| !used.contains(*name)).cloned().collect()
    }

    /// Turns a failure to build a part from these weights into one that names the file.
    pub fn fault(&self, error: &candle_core::Error) -> Error {
        // Candle wraps each error in backtraces of the builder; the innermost says what is wrong.
        let reason = error.to_string();
        let reason = reason.lines().next().unwrap_or(&reason).to_owned();
        Error::Weights { file: self.0.file.clone(), reason }
    }

    /// Refuses a checkpoint with tensors that no part of the model uses.
    ///
    /// # Errors
    /// [`Error::Weights`] naming the first of them.
    pub fn refuse_unused(&self) -> std::result::Result<(), Error> {
        const SHOWN: usize = 5;
        let unused = self.unused();
        if unused.is_empty() {
            return Ok(());
        }
        let names = unused.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = unused.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let reason = format!("the model has no place for tensor {names}{more}");
        Err(Error::Weights { file: self.0.file.clone(), reason })
    }

    fn used(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.0.names.contains(name)
    }
}

impl Tensors {
    fn names(&self) -> BTreeSet<String> {
        match self {
            Self::Mapped(file) => file.tensors().into_iter().map(|(name, _)| name).collect(),
            Self::Bundled(file) => file.tensors().into_iter().map(|(name, _)| name).collect(),
            Self::Pickled(files) => {
                files.iter().flat_map(|file| file.tensor_infos().keys().cloned()).collect()
            }
        }
    }

    fn load(&self, name: &str, device: &Device) -> Result<Option<Tensor>> {
        match self {
            Self::Mapped(file) if file.get(name).is_ok() => file.load(name, device).map(Some),
            Self::Bundled(file) if file.get(name).is_ok() => file.load(name, device).map(Some),
            Self::Pickled(files) => {
                for file in files {
                    if let Some(tensor) = file.get(name)? {
                        return tensor.to_device(device).map(Some);
                    }
                }
                Ok(None)
            }
            Self::Mapped(_) | Self::Bundled(_) => Ok(None),
        }
    }
}

fn shards(files: &ModelFiles, index: &str) -> std::result::Result<Vec<String>, Error> {
    let ShardIndex { weight_map } = files.read_json(index)?;
    let folder = Path::new(index).parent().unwrap_or(Path::new(""));
    let parts: BTreeSet<String> = weight_map.into_values().collect();
    parts
        .into_iter()
        .map(|part| {
            // An index names files beside itself: anything else would read outside the model.
            if Path::new(&part).components().count() != 1 || part.starts_with('.') {
                return Err(missing(index, format!("shard {part:?} is not a file name")));
            }
            let part = folder.join(part).to_string_lossy().into_owned();
            if files.contains(&part) { Ok(part) } else { Err(missing(part, "shard not found")) }
        })
        .collect()
}

fn bundled(files: &ModelFiles, path: &str) -> std::result::Result<Tensors, Error> {
    let bytes = match files.read(path)? {
        std::borrow::Cow::Borrowed(bytes) => bytes,
        std::borrow::Cow::Owned(_) => return Err(missing(path, "not part of the bundled model")),
    };
    let file = SliceSafetensors::new(bytes).map_err(|error| missing(path, error.to_string()))?;
    Ok(Tensors::Bundled(file))
}

#[expect(unsafe_code, reason = "mapping a file is unsafe in candle's interface")]
fn map(folder: &Path, parts: &[String]) -> Result<Tensors> {
    let paths: Vec<PathBuf> = parts.iter().map(|part| folder.join(part)).collect();
    // SAFETY: model files are replaced as a whole by users, not written in place while a worker
    // holds them; the README says so.
    Ok(Tensors::Mapped(unsafe { MmapedSafetensors::multi(&paths)? }))
}
