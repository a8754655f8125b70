//! Streaming on CUDA. Compiled, and its order proven on the host; not run on a GPU yet.
//!
//! Candle's tensors belong to the stream of the thread that makes them, and are freed on that of the thread that drops
//! them. So slots are allocated, used and dropped on the thread that computes; the copying stream only writes into
//! them, between events.

use std::ops::Range;
use std::sync::Arc;

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::{CudaContext, CudaEvent, CudaStream, DevicePtr as _, result};
use candle_core::quantized::cuda::QCudaStorage;
use candle_core::quantized::{QStorage, QTensor};
use candle_core::{CudaDevice, Device, Error, Result, Storage, Tensor, bail};

use super::PinnedLimit;
use super::layers::{Numbers, Placed, Waiting};
use super::memory::Memory;
use super::order::{Event, Stream, Streams, sweep};
use super::slots::{SLOTS, Slots, slot_of};
use crate::replace::HasTensors;

/// Layers in host memory that are copied to the device while the ones before them compute.
pub(crate) struct Streamed<T> {
    // First: when it is dropped, it waits for copies from the layers' memory.
    copier: Copier,
    layers: Vec<Waiting<T>>,
    slots: Vec<Slots<Numbers>>,
    device: CudaDevice,
}

impl<T: HasTensors> Streamed<T> {
    /// Moves a layer's numbers to memory that the device copies from.
    ///
    /// # Errors
    /// If the layer is not in host memory, or the device is lost.
    pub(crate) fn waiting(layer: &T, device: &CudaDevice, limit: &Arc<PinnedLimit>) -> Result<Waiting<T>> {
        Waiting::new(layer, |bytes| Memory::pinned(bytes, device, limit))
    }

    /// Streams these layers to a device.
    ///
    /// # Errors
    /// If the device has no stream left.
    pub(crate) fn new(layers: Vec<Waiting<T>>, device: &CudaDevice) -> Result<Self> {
        let slots = Slots::of(layers.iter().map(|layer| layer.kinds.as_slice()));
        let copier = Copier::new(device.cuda_stream().context())?;
        Ok(Self { copier, layers, slots, device: device.clone() })
    }

    /// Calls `work` with the layers of these numbers in order, as far as they exist. The host waits for none of them.
    ///
    /// # Errors
    /// The first error of `work`, or of the device.
    pub(crate) fn each_of(
        &self,
        numbers: Range<usize>,
        mut work: impl FnMut(usize, &T) -> Result<()>,
    ) -> Result<()> {
        for slots in &self.slots {
            let layers = numbers.start.max(slots.layers.start)..numbers.end.min(slots.layers.end);
            let mut running = Sweep {
                streamed: self,
                slots,
                computing: self.device.cuda_stream(),
                memory: Default::default(),
            };
            sweep(&mut running, layers, |sweep, i| work(i, &sweep.layer(i)?))?;
        }
        Ok(())
    }
}

/// The stream that copies, and the events.
struct Copier {
    stream: Arc<CudaStream>,
    free: [CudaEvent; SLOTS],
    arrived: [CudaEvent; SLOTS],
    drained: CudaEvent,
}

impl Copier {
    fn new(context: &Arc<CudaContext>) -> Result<Self> {
        let event = || context.new_event(None).map_err(Error::wrap);
        let (free, arrived, drained) = ([event()?, event()?], [event()?, event()?], event()?);
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(Error::wrap)?;
        // `CudaContext::new_stream` would make cudarc record events of its own for every tensor and every kernel.
        // SAFETY: the stream is of this context, which `new_event` has bound, and lives as long as this.
        #[expect(unsafe_code, reason = "cudarc's safe call has that side effect")]
        let stream = unsafe { context.wrap_borrowed_stream(stream) };
        Ok(Self { stream, free, arrived, drained })
    }

    fn event(&self, event: Event) -> &CudaEvent {
        match event {
            Event::Free(slot) => &self.free[slot],
            Event::Arrived(slot) => &self.arrived[slot],
            Event::Drained => &self.drained,
        }
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        // Copies from the layers' memory are over then.
        if let Err(error) = self.stream.synchronize() {
            tracing::warn!(%error, "the device did not finish its copies");
        }
        // SAFETY: `new` has created it, nobody else has it, and it has no work left.
        #[expect(unsafe_code, reason = "as in `new`")]
        let _ = unsafe { result::stream::destroy(self.stream.cu_stream()) };
    }
}

/// The memory of a slot: its tensors and their addresses.
struct Slot {
    tensors: Vec<Placed>,
    addresses: Vec<u64>,
}

impl Slot {
    fn new(kinds: &[Numbers], device: &CudaDevice, stream: &CudaStream) -> Result<Self> {
        let tensors = kinds.iter().map(|kind| placed(kind, device)).collect::<Result<Vec<_>>>()?;
        let addresses = tensors.iter().map(|tensor| address(tensor, stream)).collect::<Result<_>>()?;
        Ok(Self { tensors, addresses })
    }
}

/// A tensor without numbers.
fn placed(kind: &Numbers, device: &CudaDevice) -> Result<Placed> {
    match kind {
        Numbers::Plain(dtype, shape) => {
            Tensor::zeros(shape.as_slice(), *dtype, &Device::Cuda(device.clone())).map(Placed::Plain)
        }
        Numbers::Blocks(dtype, shape) => {
            // With the zeros behind its end that candle's kernels read.
            let storage = QCudaStorage::zeros(device, shape.iter().product(), *dtype)?;
            let blocks = QTensor::new(QStorage::Cuda(storage), shape.as_slice())?;
            Ok(Placed::Blocks(Arc::new(blocks)))
        }
    }
}

fn address(tensor: &Placed, stream: &CudaStream) -> Result<u64> {
    let tensor = match tensor {
        Placed::Blocks(blocks) => return Ok(blocks.device_ptr_with_guard(stream)?.0.addr() as u64),
        Placed::Plain(tensor) => tensor,
    };
    let (storage, _) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a slot is not on the device") };
    Ok(match &storage.slice {
        CudaStorageSlice::BF16(slice) => slice.device_ptr(stream).0,
        CudaStorageSlice::F16(slice) => slice.device_ptr(stream).0,
        CudaStorageSlice::F32(slice) => slice.device_ptr(stream).0,
        CudaStorageSlice::U8(slice) => slice.device_ptr(stream).0,
        _ => bail!("numbers of {:?} are not streamed", tensor.dtype()),
    })
}

/// A sweep over layers that share slots.
struct Sweep<'a, T> {
    streamed: &'a Streamed<T>,
    slots: &'a Slots<Numbers>,
    /// The stream of this thread.
    computing: Arc<CudaStream>,
    memory: [Option<Slot>; SLOTS],
}

impl<T: HasTensors> Sweep<'_, T> {
    fn slot(&self, layer: usize) -> Result<&Slot> {
        match &self.memory[slot_of(layer)] {
            Some(slot) => Ok(slot),
            None => bail!("layer {layer} has no slot"),
        }
    }

    /// The layer over its slot's memory.
    fn layer(&self, layer: usize) -> Result<T> {
        let slot = self.slot(layer)?;
        let tensors = self.slots.places(layer).iter().map(|at| slot.tensors[*at].clone());
        self.streamed.layers[layer].with(tensors)
    }

    fn stream(&self, stream: Stream) -> &Arc<CudaStream> {
        match stream {
            Stream::Copying => &self.streamed.copier.stream,
            Stream::Computing => &self.computing,
        }
    }
}

impl<T: HasTensors> Streams for Sweep<'_, T> {
    fn allocate(&mut self, slot: usize) -> Result<()> {
        self.memory[slot] = Some(Slot::new(&self.slots.kinds[slot], &self.streamed.device, &self.computing)?);
        Ok(())
    }

    fn copy(&mut self, layer: usize, _: usize) -> Result<()> {
        let (slot, stream) = (self.slot(layer)?, &self.streamed.copier.stream);
        let (layer, places) = (&self.streamed.layers[layer], self.slots.places(layer));
        for (range, at) in layer.ranges().zip(places) {
            // SAFETY: the address is that of a tensor of this kind, which lives until the sweep is over, and whose
            // stream then waits for this one; the numbers live as long as the copier, which waits for its copies.
            #[expect(
                unsafe_code,
                reason = "cudarc's safe call records events, and knows no blocks of candle's"
            )]
            let copied = unsafe {
                result::memcpy_htod_async(slot.addresses[*at], &layer.numbers[range], stream.cu_stream())
            };
            copied.map_err(Error::wrap)?;
        }
        Ok(())
    }

    fn record(&mut self, stream: Stream, event: Event) -> Result<()> {
        self.streamed.copier.event(event).record(self.stream(stream)).map_err(Error::wrap)
    }

    fn wait(&mut self, stream: Stream, event: Event) -> Result<()> {
        self.stream(stream).wait(self.streamed.copier.event(event)).map_err(Error::wrap)
    }
}
