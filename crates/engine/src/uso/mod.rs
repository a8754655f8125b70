//! USO on FLUX: a request becomes a picture.

pub mod autoencoder;
mod blocks;
mod brought;
mod builder;
pub mod clip;
mod encode;
pub mod flux;
mod footprint;
pub mod latents;
mod layers;
mod load;
pub mod lora;
pub mod modulation;
pub mod positions;
mod preview;
mod sample;
mod self_test;
pub mod side_branches;
pub mod siglip;
pub mod step_cache;
pub mod style;
pub mod t5;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use std::time::{Duration, Instant};

use self::autoencoder::{Autoencoder, Maps};
use self::brought::Brought;
pub use self::builder::Place;
use self::clip::Clip;
use self::flux::Flux;
pub use self::sample::Sample;
use self::siglip::Siglip;
use self::step_cache::StepCache;
use self::style::StyleProjector;
use self::t5::T5;
use crate::cache::Cache;
use crate::config::{Defaults, ModelConfig};
use crate::matrix::{Activations, Tier};
use crate::model::{LoraFile, LoraFolder, Model, Part};
use crate::placement::{self, Keep, Placement, T5Place};
use crate::plan::{Outline, Picture, Speed};
use crate::preprocess::Normalisation;
use crate::setup::Setup;
use crate::tokenize::{ClipTokenizer, T5Tokenizer};
use crate::{
    CacheCounts, Engine, Error, Footprint, Image, ModelFiles, PromptTokens, Request, Steps, checkpoint,
    device, fingerprint, memory, pool,
};

/// Largest side of a picture or a content reference in pixels, and smallest.
pub const SIDE: std::ops::RangeInclusive<u32> = 16..=2048;
/// Sampling steps of one picture.
pub const STEPS: std::ops::RangeInclusive<u32> = 1..=100;
/// Guidance strength.
pub const GUIDANCE: std::ops::RangeInclusive<f64> = 1.0..=10.0;
/// How much the first block may differ for the others to be skipped; 0 for every step whole.
pub const STEP_CACHE: std::ops::RangeInclusive<f64> = 0.0..=1.0;
/// Style references of one picture.
pub const MAX_STYLES: usize = 4;

/// Most bytes of encoded prompts and references that are kept, and the part of the free memory that they
/// may take. At real size a prompt has 4 MiB in bfloat16, a style 1 MiB, a content reference 0.25 MiB.
const CACHE_BYTES: u64 = 512 << 20;
const CACHE_SHARE: u64 = 8;

/// Upper bound of one slice of attention scores in bytes.
pub(crate) const SCORE_BYTES: usize = layers::SCORE_BYTES;

/// What the cache may take of the memory that is left for it and for samples.
pub(crate) fn cache_bytes(left: u64) -> u64 {
    CACHE_BYTES.min(left / CACHE_SHARE)
}

/// A whole USO model, resident on one device.
pub struct Uso {
    name: String,
    config: ModelConfig,
    outline: Outline,
    placement: Placement,
    t5: T5,
    t5_tokenizer: T5Tokenizer,
    clip: Brought<Clip>,
    clip_tokenizer: ClipTokenizer,
    siglip: Brought<Siglip>,
    /// Side of the square picture that SigLIP reads, in pixels.
    siglip_side: u32,
    normalisation: Normalisation,
    projector: Brought<StyleProjector>,
    autoencoder: Autoencoder,
    flux: Flux,
    files: ModelFiles,
    /// What requests may name.
    loras: LoraFolder,
    device: Device,
    dtype: DType,
    fingerprint: String,
    /// Whether its numbers are those of the reference, to float tolerance.
    is_exact: bool,
    /// Encoded prompts, styles and content references.
    features: Cache<Vec<Tensor>>,
    /// Bytes that were free after loading, as far as samples may take them.
    free: Option<u64>,
    speed: Option<Speed>,
    plan: Option<String>,
    largest: Option<Picture>,
}

impl Uso {
    /// Loads every part of a model folder.
    ///
    /// # Errors
    /// [`Error::ModelFile`] and [`Error::Weights`] name the file and the tensor that is missing,
    /// misshapen or left over.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, Error> {
        Self::load_with(files, &Setup::new(device.clone(), dtype))
    }

    /// Loads every part of a model folder in another way than the plainest.
    ///
    /// # Errors
    /// As [`Uso::load`]; for a LoRA, names its file.
    pub fn load_with(files: &ModelFiles, setup: &Setup) -> Result<Self, Error> {
        let Setup {
            device, dtype, placement, loras, lora_folder, budget, reserve, speed, plan, largest, ..
        } = setup;
        let (device, dtype) = (device, *dtype);
        let model = Model::open(files)?;
        model.check()?;
        device::set_products(dtype);
        let (t5_tokenizer, clip_tokenizer) = model.tokenizers()?;
        let normalisation = model.normalisation()?;
        let changes = model.changes(loras)?;
        let fingerprint = fingerprint::engine(&model, setup)?;
        let place = Place::new(device.clone(), dtype);
        let (clip, siglip) = (model.clip()?.clone(), model.siglip()?.clone());
        let (siglip_side, projector) = (siglip.image_size as u32, model.config().projector);
        let lies = placement.encoders;
        let is_exact = device.is_cpu()
            && dtype == DType::F32
            && matches!(placement.keep, Keep::AsStored | Keep::Tier(Tier::Bf16))
            && matches!(placement.t5, T5Place::Device | T5Place::Streamed)
            && !model.is_quantised()?;
        let mut uso = Self {
            name: files.name(),
            t5: timed("T5", || t5(&model, placement.t5, &place))?,
            t5_tokenizer,
            clip: timed("CLIP", || model.brought(Part::Clip, &place, lies, move |vb| Clip::new(&clip, vb)))?,
            clip_tokenizer,
            siglip: timed("SigLIP", || {
                let new = move |vb: VarBuilder| Siglip::new(&siglip, vb.pp("vision_model"));
                model.brought(Part::Siglip, &place, lies, new)
            })?,
            siglip_side,
            normalisation,
            projector: model
                .brought(Part::Projector, &place, lies, move |vb| StyleProjector::new(&projector, vb))?,
            autoencoder: model.autoencoder(&place)?.with_maps(maps(placement.maps)),
            flux: timed("transformer", || model.flux_with(changes, &place, placement))?,
            outline: Outline::of(&model)?,
            placement: *placement,
            files: files.clone(),
            loras: LoraFolder::open(lora_folder.as_deref(), &model.config().flux)?,
            device: device.clone(),
            dtype,
            fingerprint,
            is_exact,
            config: model.config(),
            features: Cache::new(0),
            free: None,
            speed: speed.clone(),
            plan: plan.clone(),
            largest: *largest,
        };
        let free = memory::free(device).map(|free| free.saturating_sub(*reserve));
        uso.free = match (free, *budget) {
            (Some(free), Some(budget)) => Some(free.min(budget)),
            (free, budget) => free.or(budget),
        };
        let bytes = uso.free.map_or(CACHE_BYTES, cache_bytes);
        Ok(uso.with_cache_bytes(bytes))
    }

    /// The same model with an empty cache of at most `bytes` bytes for encoded prompts and references; 0
    /// for none. [`Uso::load`] gives it 512 MiB, or an eighth of the free memory if that is less.
    #[must_use]
    pub fn with_cache_bytes(self, bytes: u64) -> Self {
        Self { features: Cache::new(bytes), ..self }
    }

    /// What a request that leaves a parameter out should get.
    pub fn defaults(&self) -> &Defaults {
        &self.config.defaults
    }

    /// The transformer's prediction at the sample's timestep: packed as its latent is, float32.
    ///
    /// # Errors
    /// If the device fails, or no step is left.
    pub fn velocity(&self, sample: &Sample) -> Result<Tensor, Error> {
        self.predict(sample, None)
    }
}

impl Uso {
    fn predict(&self, sample: &Sample, cache: Option<&mut StepCache>) -> Result<Tensor, Error> {
        let tables = sample.modulations.to_device(&self.device)?;
        let step = tables.step(sample.position, self.dtype)?;
        let ignore = &mut |_: &str, _: &Tensor| {};
        let conditioning = sample.conditioning.to_device(&self.device)?;
        let velocity = self.flux.predict(&sample.latent, &step, &conditioning, cache, ignore)?;
        Ok(velocity.to_dtype(DType::F32)?)
    }

    /// One Euler step.
    fn advance(&self, sample: &mut Sample) -> Result<(), Error> {
        let (now, next) = (sample.timesteps[sample.position], sample.timesteps[sample.position + 1]);
        sample.modulations = sample.modulations.to_device(&self.device)?;
        sample.conditioning = sample.conditioning.to_device(&self.device)?;
        sample.step_cache = sample.step_cache.to_device(&self.device)?;
        let velocity = self.next_velocity(sample)?;
        sample.latent = (&sample.latent + (&velocity * (f64::from(next) - f64::from(now)))?)?;
        sample.velocity = Some(velocity);
        sample.position += 1;
        Ok(())
    }

    /// The prediction for the next step. The last one is always computed whole: nothing mends what it does.
    fn next_velocity(&self, sample: &mut Sample) -> Result<Tensor, Error> {
        let Steps { done, of } = sample.steps();
        let mut cache = std::mem::take(&mut sample.step_cache);
        let may_skip = cache.is_on() && done + 1 < of;
        let velocity = self.predict(sample, may_skip.then_some(&mut cache));
        sample.step_cache = cache;
        velocity
    }

    fn pixels(&self, sample: &Sample) -> Result<Tensor, Error> {
        Ok(self.autoencoder.decode(&sample.latent()?)?)
    }

    /// Says of a full device how much was asked of it.
    fn with_numbers(&self, error: Error, footprint: Footprint) -> Error {
        match error {
            Error::OutOfMemory { .. } => {
                Error::OutOfMemory { need: Some(footprint.alone()), free: memory::free(&self.device) }
            }
            error => error,
        }
    }
}

impl Engine for Uso {
    type Sample = Sample;

    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> String {
        device::name(&self.device)
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn precision(&self) -> &str {
        self.dtype.as_str()
    }

    fn plan(&self) -> Option<&str> {
        self.plan.as_deref()
    }

    fn expected_step(&self, sample: &Sample) -> Option<Duration> {
        sample.expected_step
    }

    fn loras(&self) -> &[LoraFile] {
        self.loras.files()
    }

    fn self_test(&mut self) -> Result<(), Error> {
        self_test::run(self)
    }

    fn memory(&self) -> Option<u64> {
        // What the cache may come to is not for samples.
        self.free.map(|free| free.saturating_sub(self.features.capacity()))
    }

    fn footprint(&self, request: &Request) -> Footprint {
        self.footprint_of(request)
    }

    fn cache(&self) -> CacheCounts {
        self.features.counts()
    }

    fn encode(&mut self, request: &Request) -> Result<Sample, Error> {
        let sample = self.prepare(request).and_then(|sample| {
            pool::give_back(&self.device)?;
            Ok(sample)
        });
        sample.map_err(|error| self.with_numbers(error, self.footprint(request)))
    }

    fn prompt_tokens(&self, sample: &Sample) -> Option<PromptTokens> {
        Some(sample.prompt_tokens())
    }

    fn steps(&self, sample: &Sample) -> Steps {
        sample.steps()
    }

    fn skipped_steps(&self, sample: &Sample) -> u32 {
        sample.skipped_steps()
    }

    fn step(&mut self, sample: &mut Sample) -> Result<(), Error> {
        if sample.steps().is_done() {
            return Ok(());
        }
        let advanced = self.advance(sample).and_then(|()| Ok(self.device.synchronize()?));
        advanced.map_err(|error| self.with_numbers(error, sample.footprint))?;
        if sample.steps().is_done() && !is_finite(&sample.latent)? {
            let Steps { done, of } = sample.steps();
            return Err(Error::NotFinite { step: done as usize, steps: of as usize });
        }
        Ok(())
    }

    fn set_aside(&self, sample: &mut Sample) -> Result<(), Error> {
        let modulations = sample.modulations.to_device(&Device::Cpu)?;
        let step_cache = sample.step_cache.to_device(&Device::Cpu)?;
        sample.conditioning = sample.conditioning.to_device(&Device::Cpu)?;
        (sample.modulations, sample.step_cache) = (modulations, step_cache);
        Ok(())
    }

    fn preview(&self, sample: &Sample) -> Result<Option<Image>, Error> {
        match sample.predicted()? {
            Some(latent) => Ok(Some(preview::draw(&latent, &self.config.preview)?)),
            None => Ok(None),
        }
    }

    fn checkpoint(&self, sample: &Sample) -> Result<Vec<u8>, Error> {
        let values = sample.latent.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(checkpoint::pack(sample.steps(), &bytes))
    }

    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<Sample, Error> {
        let mut sample = self.encode(request)?;
        let size = sample.latent.elem_count() * size_of::<f32>();
        let (done, bytes) = checkpoint::unpack(checkpoint, request.steps, size)?;
        let values = bytes.chunks_exact(size_of::<f32>());
        let values: Vec<f32> = values.map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect();
        // Whoever goes on from such numbers fails again, attempt after attempt.
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::Checkpoint("it is not finite".into()));
        }
        sample.latent = Tensor::from_vec(values, sample.latent.shape(), &self.device)?;
        sample.position = done as usize;
        Ok(sample)
    }

    fn decode(&mut self, sample: &Sample) -> Result<Image, Error> {
        pool::give_back(&self.device)?;
        let image = self.pixels(sample).and_then(|pixels| Ok(autoencoder::to_image(&pixels)?));
        pool::give_back(&self.device)?;
        image.map_err(|error| self.with_numbers(error, sample.footprint))
    }
}

/// Loads a part, and says how long it took.
fn timed<T>(part: &'static str, load: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    let loaded = load()?;
    tracing::info!(part, took_ms = begun.elapsed().as_millis() as u64, "loaded");
    Ok(loaded)
}

/// T5 where the placement has it.
fn t5(model: &Model, place: T5Place, device: &Place) -> Result<T5, Error> {
    let host = Place::new(Device::Cpu, DType::F32);
    match place {
        T5Place::Device => model.t5_encoder(device),
        T5Place::Streamed => model.t5_encoder_with(device, placement::Blocks::Streamed),
        T5Place::Host => model.t5_encoder(&host),
        T5Place::HostQ8 => {
            let activations = Activations::Rounded;
            model.t5_encoder(&Place { keep: Keep::Tier(Tier::Q8_0), activations, ..host })
        }
    }
}

fn maps(place: placement::Place) -> Maps {
    match place {
        placement::Place::Device => Maps::Device,
        placement::Place::Host => Maps::Host,
    }
}

fn is_finite(latent: &Tensor) -> Result<bool, Error> {
    Ok(latent.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite())
}
