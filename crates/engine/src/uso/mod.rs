//! USO on FLUX: a request becomes a picture.

pub mod autoencoder;
pub mod flux;
pub mod latents;
mod layers;
pub mod lora;
pub mod positions;
mod sample;
pub mod siglip;
pub mod style;
pub mod text;

use candle_core::{DType, Device, Tensor};

use self::autoencoder::Autoencoder;
use self::flux::{Conditioning, Flux};
use self::latents::TOKEN_PIXELS;
use self::positions::Rotary;
pub use self::sample::Sample;
use self::siglip::Siglip;
use self::style::StyleProjector;
use self::text::{Clip, T5};
use crate::config::{Defaults, ModelConfig};
use crate::preprocess::{self, Normalisation};
use crate::tokenize::{ClipTokenizer, T5Tokenizer};
use crate::weights::Weights;
use crate::{
    CacheCounts, Engine, Error, Footprint, Image, ModelFiles, PositionShift, Request, Steps, checkpoint,
    device, fingerprint, schedule,
};

/// Largest side of a picture or a content reference in pixels, and smallest.
pub const SIDE: std::ops::RangeInclusive<u32> = 16..=2048;
/// Sampling steps of one picture.
pub const STEPS: std::ops::RangeInclusive<u32> = 1..=100;
/// Guidance strength.
pub const GUIDANCE: std::ops::RangeInclusive<f64> = 1.0..=10.0;
/// Style references of one picture.
pub const MAX_STYLES: usize = 4;

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
    device: Device,
    dtype: DType,
    fingerprint: String,
}

impl Uso {
    /// Loads every part of a model folder.
    ///
    /// # Errors
    /// [`Error::ModelFile`] and [`Error::Weights`] name the file and the tensor that is missing,
    /// misshapen or left over.
    pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Self, Error> {
        let config = ModelConfig::read(files)?;
        let (siglip, normalisation) = load_siglip(files, dtype, device)?;
        Ok(Self {
            name: files.name(),
            t5: T5::load(files, "t5-xxl", dtype, device)?,
            t5_tokenizer: T5Tokenizer::load(files, "t5-xxl")?,
            clip: Clip::load(files, "clip-vit-l14", dtype, device)?,
            clip_tokenizer: ClipTokenizer::load(files, "clip-vit-l14")?,
            siglip,
            normalisation,
            projector: load_projector(files, &config, dtype, device)?,
            autoencoder: load_autoencoder(files, &config, dtype, device)?,
            flux: load_flux(files, &config, dtype, device)?,
            device: device.clone(),
            dtype,
            fingerprint: fingerprint::engine(files, device, dtype)?,
            config,
        })
    }

    /// What a request that leaves a parameter out should get.
    pub fn defaults(&self) -> &Defaults {
        &self.config.defaults
    }

    /// The transformer's prediction at the sample's timestep: packed as its latent is, float32.
    ///
    /// # Errors
    /// If the device fails.
    pub fn velocity(&self, sample: &Sample) -> Result<Tensor, Error> {
        let now = sample.timesteps[sample.position];
        let ignore = &mut |_: &str, _: &Tensor| {};
        let velocity = self.flux.predict(&sample.latent, now, &sample.conditioning, ignore)?;
        Ok(velocity.to_dtype(DType::F32)?)
    }

    /// Style tokens of each image: (1, tokens, hidden).
    fn style_tokens(&self, styles: &[Image]) -> Result<Vec<Tensor>, Error> {
        styles
            .iter()
            .map(|style| {
                let pixels = preprocess::siglip(style, self.siglip.image_size() as u32, &self.normalisation);
                Ok(self.projector.forward(&self.siglip.encode(&pixels)?)?)
            })
            .collect()
    }

    /// Width and height in pixels, multiples of 16.
    fn target_size(&self, request: &Request, reference: Option<&Image>) -> Result<(usize, usize), Error> {
        let (width, height) = match reference {
            Some(image) if request.keep_size => preprocess::keep_size(
                image.width,
                image.height,
                request.content_size,
                self.config.defaults.keep_size_base,
            ),
            _ => (request.width, request.height),
        };
        let cut = |side: u32| side / TOKEN_PIXELS as u32 * TOKEN_PIXELS as u32;
        let (width, height) = (cut(width), cut(height));
        if !SIDE.contains(&width) || !SIDE.contains(&height) {
            let (least, most) = (SIDE.start(), SIDE.end());
            let reason =
                format!("the content reference asks for {width}x{height}, a side must be {least} to {most}");
            return Err(Error::Request { parameter: "keep_size", reason });
        }
        Ok((width as usize, height as usize))
    }

    fn rotary(&self, positions: &[positions::Position]) -> Result<Rotary, Error> {
        let flux = &self.config.flux;
        Ok(Rotary::new(positions, &flux.axes_dim, flux.theta, self.dtype, &self.device)?)
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
        let request = Request {
            prompt: "a red circle".into(),
            content: None,
            styles: Vec::new(),
            width: 64,
            height: 64,
            keep_size: false,
            content_size: 64,
            steps: 2,
            guidance: 4.0,
            seed: 0,
            position_shift: PositionShift::default(),
        };
        let mut sample = self.encode(&request)?;
        while !sample.steps().is_done() {
            self.step(&mut sample)?;
        }
        let image = self.decode(&sample)?;
        if image.is_flat() {
            return Err(Error::SelfTest("the picture has one colour".into()));
        }
        Ok(())
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn footprint(&self, _: &Request) -> Footprint {
        Footprint::default()
    }

    fn cache(&self) -> CacheCounts {
        CacheCounts::default()
    }

    fn encode(&mut self, request: &Request) -> Result<Sample, Error> {
        check(request)?;
        let reference = match &request.content {
            Some(image) => Some(preprocess::reference(image, request.content_size)?),
            None => None,
        };
        let (width, height) = self.target_size(request, reference.as_ref())?;
        let (rows, columns) = (height / TOKEN_PIXELS, width / TOKEN_PIXELS);

        let style = self.style_tokens(&request.styles)?;
        let states = self.t5.encode(&self.t5_tokenizer.ids(&request.prompt, self.config.text.t5)?)?;
        let pooled = self.clip.encode(&self.clip_tokenizer.ids(&request.prompt, self.config.text.clip)?)?;
        let ignore = &mut |_: &str, _: &Tensor| {};
        let text = self.flux.embed_text(&states, &style, ignore)?;

        let mut positions = positions::text(text.dim(1)?);
        positions.extend(positions::grid(rows, columns, (0, 0)));
        let reference = match &reference {
            Some(image) => {
                let origin = request.position_shift.origin(rows, columns);
                let (rows, columns) =
                    (image.height as usize / TOKEN_PIXELS, image.width as usize / TOKEN_PIXELS);
                positions.extend(positions::grid(rows, columns, origin));
                Some(self.flux.embed_latent(&latents::pack(&self.autoencoder.encode(image)?)?)?)
            }
            None => None,
        };
        let noise = latents::start_noise(request.seed, width, height, &self.device)?;
        Ok(Sample {
            conditioning: Conditioning {
                text,
                reference,
                vector: self.flux.embed_vector(&pooled, request.guidance, ignore)?,
                rotary: self.rotary(&positions)?,
            },
            latent: latents::pack(&noise)?,
            timesteps: schedule::timesteps(request.steps as usize, width, height),
            position: 0,
            rows,
            columns,
        })
    }

    fn steps(&self, sample: &Sample) -> Steps {
        sample.steps()
    }

    fn step(&mut self, sample: &mut Sample) -> Result<(), Error> {
        if sample.steps().is_done() {
            return Ok(());
        }
        let (now, next) = (sample.timesteps[sample.position], sample.timesteps[sample.position + 1]);
        let change = (self.velocity(sample)? * (f64::from(next) - f64::from(now)))?;
        sample.latent = (&sample.latent + change)?;
        sample.position += 1;
        if sample.steps().is_done() && !is_finite(&sample.latent)? {
            let Steps { done, of } = sample.steps();
            return Err(Error::NotFinite { step: done as usize, steps: of as usize });
        }
        Ok(())
    }

    fn preview(&self, _: &Sample) -> Result<Option<Image>, Error> {
        Ok(None)
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
        let pixels = self.autoencoder.decode(&sample.latent()?)?;
        Ok(autoencoder::to_image(&pixels)?)
    }
}

fn check(request: &Request) -> Result<(), Error> {
    fn within<T: PartialOrd + std::fmt::Display>(
        parameter: &'static str,
        value: T,
        range: &std::ops::RangeInclusive<T>,
    ) -> Result<(), Error> {
        if range.contains(&value) {
            return Ok(());
        }
        let reason = format!("{value} is not within {} to {}", range.start(), range.end());
        Err(Error::Request { parameter, reason })
    }
    within("width", request.width, &SIDE)?;
    within("height", request.height, &SIDE)?;
    within("content_size", request.content_size, &SIDE)?;
    within("steps", request.steps, &STEPS)?;
    within("guidance", request.guidance, &GUIDANCE)?;
    within("styles", request.styles.len(), &(0..=MAX_STYLES))
}

fn is_finite(latent: &Tensor) -> Result<bool, Error> {
    Ok(latent.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite())
}

/// The transformer with the LoRA merged in.
///
/// # Errors
/// [`Error::Weights`] for a tensor that is missing, misshapen or left over in either file.
pub fn load_flux(
    files: &ModelFiles,
    config: &ModelConfig,
    dtype: DType,
    device: &Device,
) -> Result<Flux, Error> {
    let base = Weights::open(files, "FLUX.1-dev/flux1-dev.safetensors")?;
    let lora = Weights::open(files, "USO/uso_flux_v1.0/dit_lora.safetensors")?;
    let flux = Flux::new(&config.flux, lora::merged(&base, &lora, &config.lora, dtype, device))
        .map_err(|error| base.fault(&error))?;
    base.refuse_unused()?;
    lora.refuse_unused()?;
    Ok(flux)
}

/// The autoencoder.
///
/// # Errors
/// [`Error::Weights`] for a tensor that is missing, misshapen or left over.
pub fn load_autoencoder(
    files: &ModelFiles,
    config: &ModelConfig,
    dtype: DType,
    device: &Device,
) -> Result<Autoencoder, Error> {
    let weights = Weights::open(files, "FLUX.1-dev/ae.safetensors")?;
    let autoencoder = Autoencoder::new(&config.ae, weights.builder(dtype, device))
        .map_err(|error| weights.fault(&error))?;
    weights.refuse_unused()?;
    Ok(autoencoder)
}

/// The style projector.
///
/// # Errors
/// [`Error::Weights`] for a tensor that is missing, misshapen or left over.
pub fn load_projector(
    files: &ModelFiles,
    config: &ModelConfig,
    dtype: DType,
    device: &Device,
) -> Result<StyleProjector, Error> {
    let weights = Weights::open(files, "USO/uso_flux_v1.0/projector.safetensors")?;
    let projector =
        StyleProjector::new(&config.projector, weights.builder(dtype, device).pp("feature_embedder"))
            .map_err(|error| weights.fault(&error))?;
    weights.refuse_unused()?;
    Ok(projector)
}

/// The SigLIP vision encoder and what its processor does to pixels.
///
/// # Errors
/// [`Error::ModelFile`] or [`Error::Weights`] naming what is missing or misshapen.
pub fn load_siglip(
    files: &ModelFiles,
    dtype: DType,
    device: &Device,
) -> Result<(Siglip, Normalisation), Error> {
    let config = siglip::read_config(files, "siglip/config.json")?;
    let weights = text::open(files, "siglip")?;
    let encoder = Siglip::new(&config, weights.builder(dtype, device).pp("vision_model"))
        .map_err(|error| weights.fault(&error))?;
    report_unused(&weights);
    Ok((encoder, Normalisation::read(files, "siglip/preprocessor_config.json")?))
}

/// Encoder checkpoints carry towers, heads and buffers that USO does not use.
fn report_unused(weights: &Weights) {
    let unused = weights.unused().len();
    tracing::info!(
        file = %weights.file().display(),
        tensors = weights.names().len(),
        unused,
        "loaded {} tensors, {unused} not used",
        weights.names().len() - unused
    );
}
