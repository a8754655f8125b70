//! USO on FLUX: a request becomes a picture.

pub mod autoencoder;
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
pub mod siglip;
pub mod style;
pub mod t5;
mod together;

use candle_core::{DType, Device, Tensor};

use self::autoencoder::Autoencoder;
pub use self::builder::Place;
use self::clip::Clip;
use self::flux::Flux;
pub use self::sample::Sample;
use self::siglip::Siglip;
use self::style::StyleProjector;
use self::t5::T5;
use crate::cache::Cache;
use crate::config::{Defaults, ModelConfig};
use crate::matrix::{Activations, Tier};
use crate::model::Model;
use crate::preprocess::Normalisation;
use crate::setup::{Setup, T5Place};
use crate::tokenize::{ClipTokenizer, T5Tokenizer};
use crate::{
    CacheCounts, Engine, Error, Footprint, Image, ModelFiles, PromptTokens, Request, Steps, checkpoint,
    device, fingerprint, memory,
};

/// Largest side of a picture or a content reference in pixels, and smallest.
pub const SIDE: std::ops::RangeInclusive<u32> = 16..=2048;
/// Sampling steps of one picture.
pub const STEPS: std::ops::RangeInclusive<u32> = 1..=100;
/// Guidance strength.
pub const GUIDANCE: std::ops::RangeInclusive<f64> = 1.0..=10.0;
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
    t5: T5,
    t5_tokenizer: T5Tokenizer,
    clip: Clip,
    clip_tokenizer: ClipTokenizer,
    siglip: Siglip,
    normalisation: Normalisation,
    projector: StyleProjector,
    autoencoder: Autoencoder,
    flux: Flux,
    files: ModelFiles,
    device: Device,
    dtype: DType,
    fingerprint: String,
    /// Whether its numbers are those of the reference, to float tolerance.
    is_exact: bool,
    /// Encoded prompts, styles and content references.
    features: Cache<Vec<Tensor>>,
    /// Bytes that were free after loading.
    free: Option<u64>,
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
        let Setup { device, dtype, tier, t5, loras, .. } = setup;
        let (device, dtype) = (device, *dtype);
        let model = Model::open(files)?;
        model.check()?;
        let (t5_tokenizer, clip_tokenizer) = model.tokenizers()?;
        let normalisation = model.normalisation()?;
        let changes = model.changes(loras)?;
        let fingerprint = fingerprint::engine(&model, setup)?;
        let place = Place::new(device.clone(), dtype);
        let transformer = Place { tier: *tier, ..place.clone() };
        let is_exact = device.is_cpu()
            && dtype == DType::F32
            && *tier == Tier::Bf16
            && *t5 == T5Place::Device
            && !model.is_quantised()?;
        let mut uso = Self {
            name: files.name(),
            t5: model.t5_encoder(&t5_place(*t5, &place))?,
            t5_tokenizer,
            clip: model.clip_encoder(&place)?,
            clip_tokenizer,
            siglip: model.siglip_encoder(&place)?,
            normalisation,
            projector: model.projector(&place)?,
            autoencoder: model.autoencoder(&place)?,
            flux: model.flux_with(&changes, &transformer)?,
            files: files.clone(),
            device: device.clone(),
            dtype,
            fingerprint,
            is_exact,
            config: model.config(),
            features: Cache::new(0),
            free: None,
        };
        uso.free = memory::free(device);
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
        let tables = sample.modulations.to_device(&self.device)?;
        let step = tables.step(sample.position, self.dtype)?;
        let ignore = &mut |_: &str, _: &Tensor| {};
        let velocity = self.flux.predict(&sample.latent, &step, &sample.conditioning, ignore)?;
        Ok(velocity.to_dtype(DType::F32)?)
    }
}

impl Uso {
    /// One Euler step.
    fn advance(&self, sample: &mut Sample) -> Result<(), Error> {
        let (now, next) = (sample.timesteps[sample.position], sample.timesteps[sample.position + 1]);
        sample.modulations = sample.modulations.to_device(&self.device)?;
        let velocity = self.velocity(sample)?;
        sample.latent = (&sample.latent + (&velocity * (f64::from(next) - f64::from(now)))?)?;
        sample.velocity = Some(velocity);
        sample.position += 1;
        Ok(())
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
        let sample = self.prepare(request);
        sample.map_err(|error| self.with_numbers(error, self.footprint(request)))
    }

    fn prompt_tokens(&self, sample: &Sample) -> Option<PromptTokens> {
        Some(sample.prompt_tokens())
    }

    fn steps(&self, sample: &Sample) -> Steps {
        sample.steps()
    }

    fn step(&mut self, sample: &mut Sample) -> Result<(), Error> {
        if sample.steps().is_done() {
            return Ok(());
        }
        let advanced = self.advance(sample);
        advanced.map_err(|error| self.with_numbers(error, sample.footprint))?;
        if sample.steps().is_done() && !is_finite(&sample.latent)? {
            let Steps { done, of } = sample.steps();
            return Err(Error::NotFinite { step: done as usize, steps: of as usize });
        }
        Ok(())
    }

    fn set_aside(&self, sample: &mut Sample) -> Result<(), Error> {
        sample.modulations = sample.modulations.to_device(&Device::Cpu)?;
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
        let image = self.pixels(sample).and_then(|pixels| Ok(autoencoder::to_image(&pixels)?));
        image.map_err(|error| self.with_numbers(error, sample.footprint))
    }
}

fn t5_place(place: T5Place, device: &Place) -> Place {
    match place {
        T5Place::Device => device.clone(),
        T5Place::Host => Place {
            tier: Tier::Q8_0,
            activations: Activations::Rounded,
            ..Place::new(Device::Cpu, DType::F32)
        },
    }
}

fn is_finite(latent: &Tensor) -> Result<bool, Error> {
    Ok(latent.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite())
}
