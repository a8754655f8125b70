//! USO on FLUX: turns a request into a picture.

pub mod autoencoder;
mod blocks;
mod builder;
mod calls;
pub mod clip;
mod double_block;
mod encode;
mod engine;
pub mod flux;
mod footprint;
pub(crate) mod fused;
pub mod kernel_check;
pub mod latents;
mod layers;
mod load;
mod loaded_part;
pub mod lora;
mod member;
mod modulate;
pub mod modulation;
pub mod positions;
mod preview;
mod request_loras;
mod sample;
mod self_test;
pub mod side_branches;
pub mod siglip;
mod stacked;
pub mod step_cache;
pub mod style;
pub mod t5;
mod together;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use std::sync::Arc;
use std::time::Instant;

use self::autoencoder::{Autoencoder, Maps};
pub use self::builder::Place;
pub use self::calls::Calls;
use self::clip::Clip;
use self::flux::Flux;
use self::loaded_part::LoadedPart;
pub use self::sample::Sample;
use self::siglip::Siglip;
use self::step_cache::StepCache;
use self::style::StyleProjector;
use self::t5::T5;
use crate::cache::{Cache, cache_bytes};
use crate::config::{Defaults, ModelConfig};
use crate::matrix::{Activations, Tier};
use crate::model::{LoraFolder, Model, Part};
use crate::parallel::make_both;
use crate::placement::{self, Keep, Placement, T5Place};
use crate::plan::{Outline, Tracer};
use crate::preprocess::Normalisation;
use crate::setup::{Planned, Setup};
use crate::stream::PinnedLimit;
use crate::tokenize::{ClipTokenizer, T5Tokenizer};
use crate::{Error, Footprint, ModelFiles, Steps, device, fingerprint, memory};

/// A complete USO model, loaded for one device.
pub struct Uso {
    name: String,
    config: ModelConfig,
    outline: Outline,
    placement: Placement,
    t5: T5,
    t5_tokenizer: T5Tokenizer,
    clip: LoadedPart<Clip>,
    clip_tokenizer: ClipTokenizer,
    siglip: LoadedPart<Siglip>,
    /// Side in pixels of the square picture that SigLIP reads.
    siglip_side: u32,
    normalisation: Normalisation,
    projector: LoadedPart<StyleProjector>,
    autoencoder: Autoencoder,
    flux: Flux,
    files: ModelFiles,
    /// LoRAs that requests may ask for.
    loras: LoraFolder,
    device: Device,
    dtype: DType,
    fingerprint: String,
    /// Whether its numbers equal the reference's, within float tolerance.
    is_exact: bool,
    /// Encoded prompts, styles and content references.
    features: Cache<Vec<Tensor>>,
    /// Bytes that were free after loading and that samples and the cache may take.
    free: Option<u64>,
    plan: Option<Planned>,
}

impl Uso {
    /// Loads every part of a model folder.
    ///
    /// # Errors
    /// [`Error::ModelFile`] and [`Error::Weights`] name the file and the tensor that is missing, misshapen or unknown.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, Error> {
        Self::load_with(files, &Setup::new(device.clone(), dtype))
    }

    /// Loads every part of a model folder with these settings.
    ///
    /// # Errors
    /// As [`Uso::load`]; names the file of a faulty LoRA.
    pub fn load_with(files: &ModelFiles, setup: &Setup) -> Result<Self, Error> {
        let Setup { device, dtype, placement, loras, lora_folder, plan, .. } = setup;
        let (device, dtype) = (device, *dtype);
        let model = Model::open(files)?;
        model.check()?;
        device::set_products(dtype);
        kernel_check::adopt(device, dtype);
        let (t5_tokenizer, clip_tokenizer) = model.tokenizers()?;
        let normalisation = model.normalisation()?;
        let changes = model.changes(loras)?;
        let fingerprint = fingerprint::engine(&model, setup)?;
        let outline = Outline::of(&model)?.with_loras(loras.iter().map(|lora| lora.file.as_path()))?;
        let pinned = Tracer::on(device, dtype, &outline, *placement).pinned_bytes();
        let pinned = Some(Arc::new(PinnedLimit::new(pinned)));
        let place = Place { pinned, ..Place::new(device.clone(), dtype) };
        let (clip, siglip) = (model.clip()?.clone(), model.siglip()?.clone());
        let (siglip_side, projector) = (siglip.image_size as u32, model.config().projector);
        let lies = placement.encoders;
        let is_exact = device.is_cpu()
            && dtype == DType::F32
            && matches!(placement.keep, Keep::AsStored | Keep::Tier(Tier::Bf16))
            && matches!(placement.t5, T5Place::Device | T5Place::Streamed)
            && !model.is_quantised()?;
        let (autoencoder, flux) = make_both(
            device,
            || timed("autoencoder", || model.autoencoder(&place)),
            || timed("transformer", || model.flux_with(changes, &place, placement)),
        )?;
        let mut uso = Self {
            name: files.name(),
            t5: timed("T5", || t5(&model, placement.t5, &place))?,
            t5_tokenizer,
            clip: timed("CLIP", || {
                model.loaded_part(Part::Clip, &place, lies, move |vb| Clip::new(&clip, vb))
            })?,
            clip_tokenizer,
            siglip: timed("SigLIP", || {
                let new = move |vb: VarBuilder| Siglip::new(&siglip, vb.pp("vision_model"));
                model.loaded_part(Part::Siglip, &place, lies, new)
            })?,
            siglip_side,
            normalisation,
            projector: model
                .loaded_part(Part::Projector, &place, lies, move |vb| StyleProjector::new(&projector, vb))?,
            autoencoder: autoencoder.with_maps(maps(placement.maps)),
            flux,
            outline,
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
            plan: plan.clone(),
        };
        uso.free = match (memory::free(device), plan) {
            (Some(free), Some(plan)) => Some(free.saturating_sub(plan.reserve).min(plan.budget)),
            (free, plan) => free.or(plan.as_ref().map(|plan| plan.budget)),
        };
        let bytes = cache_bytes(uso.free.unwrap_or(u64::MAX));
        Ok(uso.with_cache_bytes(bytes))
    }

    /// The same model with an empty cache of at most `bytes` bytes for encoded prompts and references; 0 for no cache.
    /// [`Uso::load`] gives it 512 MiB, or an eighth of the free memory if that is less.
    #[must_use]
    pub fn with_cache_bytes(self, bytes: u64) -> Self {
        Self { features: Cache::new(bytes), ..self }
    }

    /// Defaults for parameters that a request leaves out.
    pub fn defaults(&self) -> &Defaults {
        &self.config.defaults
    }

    /// The transformer's prediction at the sample's timestep, packed like its latent, in float32.
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
        sample.modulations = sample.modulations.to_device(&self.device)?;
        sample.conditioning = sample.conditioning.to_device(&self.device)?;
        sample.step_cache = sample.step_cache.to_device(&self.device)?;
        let velocity = self.next_velocity(sample)?;
        let latent = sample.moved(&velocity)?;
        sample.arrive(latent, velocity);
        Ok(())
    }

    /// The prediction for the next step. The last step is never skipped, because no later step corrects its error.
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

    /// Adds the needed and free bytes to an out-of-memory error.
    fn with_numbers(&self, error: Error, footprint: Footprint) -> Error {
        self.with_need(error, footprint.alone())
    }

    fn with_need(&self, error: Error, need: u64) -> Error {
        match error {
            Error::OutOfMemory { .. } => {
                Error::OutOfMemory { need: Some(need), free: memory::free(&self.device) }
            }
            error => error,
        }
    }
}

/// Loads a part and logs how long it took.
fn timed<T>(part: &'static str, load: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    let loaded = load()?;
    tracing::info!(part, took_ms = begun.elapsed().as_millis() as u64, "loaded");
    Ok(loaded)
}

/// T5 at its place.
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
