//! Traces the operations of a sample, from encoding to decoding, with what each allocates, moves and multiplies.
//!
//! The layers are written here a second time, with tensors that have only sizes ([`tape::Values`]). They have the same
//! form as the layers' own code, because a tensor is held until the end of its statement or block.

mod encoders;
mod flux;
mod modulation;
mod record;
mod tape;

use candle_core::{DType, Device};

use self::flux::{Flux, Sample};
use self::record::{F32, Recorder};
pub(super) use self::tape::Op;
pub use self::tape::Peak;
use self::tape::{Tape, Values};
use super::cost::{Step, StepCost};
use super::hardware::Backend;
use super::kernels::Kernels;
use super::outline::{Outline, Role};
use super::picture::Picture;
use super::speed::Speed;
use crate::matrix::Tier;
use crate::matrix::rule::Activations;
use crate::model::Part;
use crate::placement::{Blocks, Keep, Place, Placement, T5Place};
use crate::uso::autoencoder::{self, Chunks, Maps};

/// Memory and operations of a sample.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Peak on the device besides the model, in each phase.
    pub(crate) encode: Peak,
    pub(crate) step: Peak,
    pub(crate) decode: Peak,
    /// Bytes that the sample holds between its steps.
    pub(crate) kept: u64,
    /// Part of `kept` that is its modulation tables.
    pub(crate) tables: u64,
    /// Bytes of the slots of streamed blocks in a step.
    pub(crate) slots: u64,
    /// Most bytes held in host memory besides the model, if the device has its own memory.
    pub(crate) host: u64,
    /// The kernels of `step_ops`.
    pub(crate) kernels: Kernels,
    /// The operations of one step.
    pub(crate) step_ops: Vec<Op>,
    /// The same as candle does them.
    pub(crate) candle_ops: Vec<Op>,
    /// Most bytes that the operations of a step hold at a time and give back, besides streamed blocks.
    pub(crate) temporaries: u64,
    /// The operations of T5, wherever it computes.
    pub(crate) prompt_ops: Vec<Op>,
}

/// Traces samples of a model with a placement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tracer<'a> {
    pub(crate) outline: &'a Outline,
    pub(crate) placement: Placement,
    pub(crate) backend: Backend,
    pub(crate) dtype: DType,
    /// Whether the device multiplies the eight-bit numbers of the tier.
    pub(crate) eight_bits: bool,
}

/// The memories of device and host: the same tape twice if they share memory.
#[derive(Clone, Copy)]
struct Tapes<'t> {
    device: &'t Tape,
    host: &'t Tape,
}

impl<'a> Tracer<'a> {
    /// Traces samples on an open device, without products of eight-bit numbers.
    pub(crate) fn on(device: &Device, dtype: DType, outline: &'a Outline, placement: Placement) -> Self {
        Self { outline, placement, backend: Backend::of(device), dtype, eight_bits: false }
    }
}

impl Tracer<'_> {
    /// Traces a sample. On a GPU, its memory is that of candle's operations, which take more: a kernel of our own that
    /// fails its check at the start is replaced by them. Loops of the CPU never are.
    pub(crate) fn run(&self, picture: &Picture) -> Trace {
        self.run_with(picture, self.kernels())
    }

    /// The kernels that a step has.
    fn kernels(&self) -> Kernels {
        let eight_bits = self.eight_bits && self.rounds();
        Kernels::of(self.backend, self.dtype, self.outline.config.flux.head_dim(), eight_bits)
    }

    /// The same with the steps of these kernels.
    pub(crate) fn run_with(&self, picture: &Picture, kernels: Kernels) -> Trace {
        self.run_samples(picture, kernels, 1)
    }

    /// Traces so many samples that are stepped together. `kept` is what all of them hold, and of them, one is encoded
    /// and decoded.
    pub(crate) fn together(&self, picture: &Picture, samples: u64) -> Trace {
        self.run_samples(picture, self.kernels(), samples)
    }

    fn run_samples(&self, picture: &Picture, kernels: Kernels, samples: u64) -> Trace {
        let candle = self.traced(picture, Kernels::CANDLE, samples);
        if kernels == Kernels::CANDLE {
            return candle;
        }
        let own = self.traced(picture, kernels, samples);
        if self.backend == Backend::Cpu {
            return Trace { candle_ops: candle.candle_ops, ..own };
        }
        let Trace { step_ops, temporaries, .. } = own;
        Trace { kernels, step_ops, temporaries, ..candle }
    }

    fn traced(&self, picture: &Picture, kernels: Kernels, count: u64) -> Trace {
        let (device, host) = (Tape::default(), Tape::default());
        let tapes = Tapes { device: &device, host: if self.backend.is_apart() { &host } else { &device } };
        let rounds = kernels.eight_bits && self.rounds();
        // As the transformer is loaded.
        let activations = if rounds { Activations::Rounded } else { Activations::Short };
        let recorder = Recorder { activations, ..self.recorder(&device) };
        let flux = Flux::new(recorder, self.outline, self.placement.keep, kernels);
        let (sample, prompt_ops) = self.encode(&flux, tapes, picture);
        let encode = tape::peak(&device.since(0), 0);
        let tables = sample.tables.bytes();
        let others: Vec<_> = (1..count).map(|_| sample.another()).collect();
        let mut samples = vec![sample];
        samples.extend(others);
        // From the second step on, a sample also holds its last velocity.
        flux.step(&mut samples);
        let (kept, stepping) = (device.held(), device.len());
        let slots = self.slot_bytes();
        let streamed = device.make(Op::idle("stream blocks"), slots, 1, 0);
        flux.step(&mut samples);
        drop(streamed);
        let step_ops = device.since(stepping);
        let step = tape::peak(&step_ops, kept);
        let temporaries = step.bytes.saturating_sub(kept + slots);
        let decoding = device.len();
        let (width, height) = (picture.width as usize, picture.height as usize);
        let latent = samples.first().map(|sample| sample.latent.map("unpack"));
        self.pixels(tapes, autoencoder::decoding(&self.outline.config.ae, width, height, self.chunks()));
        drop(latent);
        let decode = tape::peak(&device.since(decoding), kept);
        let host = tape::peak(&host.since(0), 0).bytes;
        let candle_ops = step_ops.clone();
        Trace {
            encode,
            step,
            decode,
            kept,
            tables,
            slots,
            host,
            kernels,
            step_ops,
            candle_ops,
            temporaries,
            prompt_ops,
        }
    }

    /// The order is that of `Uso::prepare`.
    fn encode<'t>(&self, flux: &Flux<'_, 't>, tapes: Tapes<'t>, picture: &Picture) -> (Sample<'t>, Vec<Op>) {
        let config = &self.outline.config;
        let tokens = picture.tokens(config);
        let channels = config.flux.in_channels as u64;
        let reference = picture.content.map(|(width, height)| {
            let (width, height) = (width as usize, height as usize);
            self.pixels(tapes, autoencoder::encoding(&config.ae, width, height, self.chunks()));
            tapes.device.moved("latent", 0, tokens.reference * channels, F32)
        });
        let style = (0..picture.styles).map(|_| self.style(tapes)).collect();
        let (states, prompt_ops) = self.states(tapes);
        let _pooled = self.pooled(tapes);
        let text = flux.embed_text(&states, style);
        let reference = reference.map(|latent| flux.embed_latent(&latent.map("pack")));
        let noise = tapes.device.moved("noise", 0, tokens.target * channels, F32);
        let rotary = tapes.device.moved("rotary", 0, tokens.all() * config.flux.head_dim() as u64, F32);
        let steps = u64::from(picture.steps);
        let fetched = match self.placement.modulations {
            Place::Device => 0,
            Place::Host => self.outline.streamed_modulations(self.placement.keep, self.dtype).slots,
        };
        let tables = modulation::tables(&self.recorder(tapes.device), &config.flux, steps, fetched);
        let latent = noise.map("pack");
        (Sample { text, reference, rotary, tables, latent, velocity: None, steps }, prompt_ops)
    }

    /// Seconds of a step.
    pub(crate) fn step(&self, picture: &Picture, speed: &Speed) -> StepCost {
        self.cost(&self.run(picture), speed)
    }

    /// Seconds of a step of a traced sample.
    pub(crate) fn cost(&self, trace: &Trace, speed: &Speed) -> StepCost {
        let streamed_bytes = match self.placement.blocks {
            Blocks::Resident => 0,
            Blocks::Streamed => self.block_bytes().sum(),
        };
        let Trace { kernels, temporaries, step_ops: ops, candle_ops: candle, .. } = trace;
        let (kernels, temporaries) = (*kernels, *temporaries);
        Step { kernels, ops, temporaries, candle, streamed_bytes }.cost(speed, self.dtype)
    }

    /// Whether the tier rounds the input of products.
    fn rounds(&self) -> bool {
        matches!(self.placement.keep, Keep::Tier(tier) if tier.rounds_activations())
    }

    fn block_bytes(&self) -> impl Iterator<Item = u64> {
        let roles = self.outline.roles(self.placement.keep, self.dtype);
        roles.into_iter().filter(|(role, _)| matches!(role, Role::Block(_))).map(|(_, bytes)| bytes)
    }

    /// Bytes of the slots of streamed blocks.
    fn slot_bytes(&self) -> u64 {
        match self.placement.blocks {
            Blocks::Resident => 0,
            Blocks::Streamed => self.outline.streamed_blocks(self.placement.keep, self.dtype).slots,
        }
    }

    /// Bytes of host memory that streamed layers pin, if the device has its own memory.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        let t5 = (t5_keep(self.placement.t5), t5_dtype(self.dtype));
        if self.backend.is_apart() { self.outline.pinned_bytes(&self.placement, self.dtype, t5) } else { 0 }
    }

    fn recorder<'t>(&self, tape: &'t Tape) -> Recorder<'t> {
        let activations = Activations::Exact;
        Recorder { tape, backend: self.backend, dtype: self.dtype, activations, samples: 1 }
    }

    /// The processor, which computes in float32.
    fn processor<'t>(&self, tapes: Tapes<'t>) -> Recorder<'t> {
        let (backend, activations) = (Backend::Cpu, Activations::Exact);
        Recorder { tape: tapes.host, backend, dtype: backend.compute(), activations, samples: 1 }
    }

    fn chunks(&self) -> Chunks {
        let chunks = if self.backend == Backend::Cpu { Chunks::CPU } else { Chunks::ACCELERATOR };
        let maps = if self.placement.maps == Place::Host { Maps::Host } else { Maps::Device };
        Chunks { maps, ..chunks }
    }

    fn pixels(&self, tapes: Tapes<'_>, peak: autoencoder::Peak) {
        if self.backend.is_apart() {
            tapes.device.borrowed("autoencoder", peak.device);
            tapes.host.borrowed("autoencoder", peak.host);
        } else {
            tapes.device.borrowed("autoencoder", peak.total());
        }
    }

    /// T5's states of a prompt, and the operations that compute them.
    fn states<'t>(&self, tapes: Tapes<'t>) -> (Values<'t>, Vec<Op>) {
        let place = self.placement.t5;
        let tape = if place.is_host() { tapes.host } else { tapes.device };
        let first = tape.len();
        let states = match place {
            T5Place::Host | T5Place::HostQ8 => {
                let rounded = place == T5Place::HostQ8;
                let activations = if rounded { Activations::Rounded } else { Activations::Exact };
                let recorder = Recorder { activations, ..self.processor(tapes) };
                encoders::t5(&recorder, self.outline, t5_keep(place))
            }
            T5Place::Device | T5Place::Streamed => {
                let dtype = t5_dtype(self.dtype);
                let recorder = Recorder { dtype, ..self.recorder(tapes.device) };
                let bytes = self.outline.streamed_t5(t5_keep(place), dtype).slots;
                let loaded =
                    (place == T5Place::Streamed).then(|| tapes.device.moved("stream T5", bytes, bytes, 1));
                let states = encoders::t5(&recorder, self.outline, t5_keep(place));
                drop(loaded);
                states
            }
        };
        let ops = tape.since(first);
        (self.copy_to_device(tapes, states), ops)
    }

    fn pooled<'t>(&self, tapes: Tapes<'t>) -> Values<'t> {
        let _copies = self.copy_parts(tapes, &[Part::Clip]);
        encoders::clip(&self.recorder(tapes.device), self.outline)
    }

    fn style<'t>(&self, tapes: Tapes<'t>) -> Values<'t> {
        let _copies = self.copy_parts(tapes, &[Part::Siglip, Part::Projector]);
        encoders::style(&self.recorder(tapes.device), self.outline)
    }

    /// Encoders that are on the host are copied to the device while they are used.
    fn copy_parts<'t>(&self, tapes: Tapes<'t>, parts: &[Part]) -> Option<Values<'t>> {
        let bytes = parts.iter().map(|part| self.outline.bytes(*part, Keep::AsStored, self.dtype)).sum();
        (self.placement.encoders == Place::Host)
            .then(|| tapes.device.moved("copy to device", bytes, bytes, 1))
    }

    /// Copies values from the host to the device.
    fn copy_to_device<'t>(&self, tapes: Tapes<'t>, values: Values<'t>) -> Values<'t> {
        if values.is_on(tapes.device) {
            values
        } else {
            tapes.device.moved("copy to device", 0, values.count, values.size)
        }
    }
}

/// How T5's matrices are stored in a place.
pub(super) fn t5_keep(place: T5Place) -> Keep {
    if place == T5Place::HostQ8 { Keep::Tier(Tier::Q8_0) } else { Keep::AsStored }
}

/// T5's compute type if the transformer computes in `dtype`: in half precision its states overflow.
pub(super) fn t5_dtype(dtype: DType) -> DType {
    if dtype == DType::F16 { DType::F32 } else { dtype }
}
