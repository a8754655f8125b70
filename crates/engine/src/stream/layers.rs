//! Layers whose numbers wait in host memory.

use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use zerocopy::IntoBytes as _;

use super::memory::Memory;
use super::slots::Kind;
use crate::replace::{HasTensors, Replace};

/// Type and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Plain numbers.
    Plain(DType, Vec<usize>),
    /// Ggml's blocks.
    Blocks(GgmlDType, Vec<usize>),
}

impl Numbers {
    fn size(&self) -> usize {
        let count = self.shape().iter().product::<usize>();
        match self {
            Self::Plain(dtype, _) => count * dtype.size_in_bytes(),
            Self::Blocks(dtype, _) => count / dtype.block_size() * dtype.type_size(),
        }
    }
}

impl Kind for Numbers {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Plain(_, shape) | Self::Blocks(_, shape) => shape,
        }
    }

    fn bytes(&self) -> u64 {
        self.size() as u64
    }
}

/// A tensor in device memory.
#[derive(Debug, Clone)]
pub(crate) enum Placed {
    Plain(Tensor),
    Blocks(Arc<QTensor>),
}

/// A layer and, apart from it, its numbers.
pub(crate) struct Waiting<T> {
    /// It has tensors of the right shapes with nothing in them.
    empty: T,
    /// Its tensors in their order.
    pub(crate) kinds: Vec<Numbers>,
    /// The numbers of all of them, one after the other.
    pub(crate) numbers: Memory,
}

impl<T: HasTensors> Waiting<T> {
    /// Moves a layer's numbers to memory that `memory` gives for their bytes.
    ///
    /// # Errors
    /// If a tensor is not in host memory, or the memory is not to be had.
    pub(crate) fn new(layer: &T, memory: impl FnOnce(usize) -> Result<Memory>) -> Result<Self> {
        let mut kinds = Kinds(Vec::new());
        layer.replaced(&mut kinds)?;
        let mut moved = Moved { numbers: memory(kinds.0.iter().map(Numbers::size).sum())?, until: 0 };
        let empty = layer.replaced(&mut moved)?;
        Ok(Self { empty, kinds: kinds.0, numbers: moved.numbers })
    }

    /// Where the numbers of each of its tensors are among all of them.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.kinds.iter().scan(0, |until, kind| {
            let start = *until;
            *until += kind.size();
            Some(start..*until)
        })
    }

    /// The layer with these tensors, one for each of its own.
    ///
    /// # Errors
    /// If one of them is of another kind.
    pub(crate) fn with(&self, tensors: impl Iterator<Item = Placed>) -> Result<T> {
        self.empty.replaced(&mut Others(tensors))
    }
}

/// Collects the kinds of tensors, which stay.
struct Kinds(Vec<Numbers>);

impl Replace for Kinds {
    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        self.0.push(Numbers::Plain(tensor.dtype(), tensor.dims().to_vec()));
        Ok(tensor.clone())
    }

    fn blocks(&mut self, blocks: &Arc<QTensor>) -> Result<Arc<QTensor>> {
        self.0.push(Numbers::Blocks(blocks.dtype(), blocks.shape().dims().to_vec()));
        Ok(Arc::clone(blocks))
    }
}

/// Copies the numbers of tensors, which are replaced by empty ones.
struct Moved {
    numbers: Memory,
    until: usize,
}

impl Moved {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let start = self.until;
        self.until += bytes.len();
        match self.numbers.get_mut(start..self.until) {
            Some(place) => place.copy_from_slice(bytes),
            None => bail!("a layer has {} bytes more than its tensors", self.until - self.numbers.len()),
        }
        Ok(())
    }
}

impl Replace for Moved {
    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        let contiguous = tensor.contiguous()?;
        let (storage, layout) = contiguous.storage_and_layout();
        let numbers = layout.start_offset()..layout.start_offset() + contiguous.elem_count();
        match &*storage {
            Storage::Cpu(CpuStorage::BF16(all)) => self.write(all[numbers].as_bytes())?,
            Storage::Cpu(CpuStorage::F16(all)) => self.write(all[numbers].as_bytes())?,
            Storage::Cpu(CpuStorage::F32(all)) => self.write(all[numbers].as_bytes())?,
            Storage::Cpu(CpuStorage::U8(all)) => self.write(&all[numbers])?,
            _ => {
                bail!("numbers of {:?} on {:?} are not streamed", tensor.dtype(), tensor.device().location())
            }
        }
        Tensor::zeros((), tensor.dtype(), &Device::Cpu)?.broadcast_as(tensor.shape())
    }

    fn blocks(&mut self, blocks: &Arc<QTensor>) -> Result<Arc<QTensor>> {
        if !blocks.device().is_cpu() {
            bail!("blocks on {:?} are not streamed", blocks.device().location());
        }
        self.write(&blocks.data()?)?;
        let (dtype, one) = (blocks.dtype(), vec![0; blocks.dtype().type_size()]);
        let storage = QStorage::from_data(one.into(), &Device::Cpu, dtype)?;
        Ok(Arc::new(QTensor::new(storage, (1, dtype.block_size()))?))
    }
}

/// Replaces tensors by these.
struct Others<I>(I);

impl<I: Iterator<Item = Placed>> Replace for Others<I> {
    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        match self.0.next() {
            Some(Placed::Plain(other)) if other.dims() == tensor.dims() => Ok(other),
            other => bail!("{other:?} takes no place of a tensor {:?}", tensor.shape()),
        }
    }

    fn blocks(&mut self, blocks: &Arc<QTensor>) -> Result<Arc<QTensor>> {
        match self.0.next() {
            Some(Placed::Blocks(other)) if other.dtype() == blocks.dtype() => Ok(other),
            other => bail!("{other:?} takes no place of blocks of {:?}", blocks.dtype()),
        }
    }
}
