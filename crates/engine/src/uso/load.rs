//! The parts of a model folder, each from its file.

use candle_core::{DType, Device};

use super::autoencoder::Autoencoder;
use super::flux::Flux;
use super::lora;
use super::siglip::{self, Siglip};
use super::style::StyleProjector;
use super::text::{self, Clip, T5};
use crate::files::missing;
use crate::preprocess::Normalisation;
use crate::tokenize::{ClipTokenizer, T5Tokenizer, TokenizerSource};
use crate::weights::Weights;
use crate::{Error, ModelConfig, ModelFiles};

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

/// T5 and its tokenizer from `folder`.
pub(super) fn load_t5(
    files: &ModelFiles,
    folder: &str,
    dtype: DType,
    device: &Device,
) -> Result<(T5, T5Tokenizer), Error> {
    let tokenizer = T5Tokenizer::load(files, folder)?;
    let encoder = T5::load(files, folder, dtype, device)?;
    check_ids(folder, tokenizer.source(), tokenizer.largest_id(), encoder.vocabulary())?;
    Ok((encoder, tokenizer))
}

/// The text half of CLIP and its tokenizer from `folder`.
pub(super) fn load_clip(
    files: &ModelFiles,
    folder: &str,
    dtype: DType,
    device: &Device,
) -> Result<(Clip, ClipTokenizer), Error> {
    let tokenizer = ClipTokenizer::load(files, folder)?;
    let encoder = Clip::load(files, folder, dtype, device)?;
    check_ids(folder, tokenizer.source(), tokenizer.largest_id(), encoder.vocabulary())?;
    Ok((encoder, tokenizer))
}

/// Refuses a tokenizer that gives ids for which its encoder, which knows those below `vocabulary`, has no
/// embedding.
fn check_ids(folder: &str, source: TokenizerSource, largest: u32, vocabulary: usize) -> Result<(), Error> {
    if largest as usize >= vocabulary {
        let reason =
            format!("the tokenizer ({source}) has ids up to {largest}, the weights {vocabulary} embeddings");
        return Err(missing(folder, reason));
    }
    tracing::info!(folder, %source, "tokenizer of {folder}: {source}");
    Ok(())
}

/// Encoder checkpoints carry towers, heads and buffers that USO does not use.
pub(super) fn report_unused(weights: &Weights) {
    let unused = weights.unused().len();
    tracing::info!(
        file = %weights.file().display(),
        tensors = weights.names().len(),
        unused,
        "loaded {} tensors, {unused} not used",
        weights.names().len() - unused
    );
}
