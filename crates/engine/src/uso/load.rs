//! Loads the parts of a model from their weights.

use candle_core::{DType, Result as CandleResult};
use candle_nn::VarBuilder;
use sha2::{Digest, Sha256};

use super::autoencoder::Autoencoder;
use super::blocks::Source;
use super::builder::Place;
use super::clip::Clip;
use super::flux::Flux;
use super::loaded_part::LoadedPart;
use super::lora::Changes;
use super::siglip::Siglip;
use super::style::StyleProjector;
use super::t5::T5;
use crate::Error;
use crate::config::LoraConfig;
use crate::files::{inside, missing};
use crate::matrix::Activations;
use crate::model::{Adapter, Model, Origin, PACKED_LORA, Part};
use crate::placement::{self, Placement};
use crate::preprocess::Normalisation;
use crate::setup::ExtraLora;
use crate::tokenize::{ClipTokenizer, T5Tokenizer, TokenizerSource};
use crate::weights::StoredType;

impl Model {
    /// The transformer. USO's LoRA is merged if the weights are wide floats, and runs beside them otherwise.
    ///
    /// # Errors
    /// [`Error::Weights`] for a tensor that is missing, misshapen or unknown in either file.
    pub fn flux(&self, place: &Place) -> Result<Flux, Error> {
        self.flux_with(self.changes(&[])?, place, &Placement::default())
    }

    /// The changes of USO's LoRA, unless it is already merged, and of other LoRAs.
    ///
    /// # Errors
    /// [`Error::ModelFile`] or [`Error::Weights`] naming the file that cannot be used.
    pub fn changes(&self, extra: &[ExtraLora]) -> Result<Changes, Error> {
        let merged = self.packed(PACKED_LORA).is_some();
        let mut changes = if merged { Changes::default() } else { self.lora_changes()?.0 };
        for ExtraLora { file, weight } in extra {
            let adapter = Adapter::open(file, &self.config().flux)?;
            let counts = adapter.check_extra()?;
            if !counts.added.is_empty() {
                tracing::warn!(file = %file.display(), names = ?counts.added, "ignored unknown tensors of a LoRA");
            }
            let config = LoraConfig { network_alpha: None, lora_weight: *weight };
            changes.add(Changes::read(&adapter, &config).map_err(|error| adapter.weights().fault(&error))?);
        }
        Ok(changes)
    }

    /// Whether numbers of the transformer are stored in fewer than 16 bits.
    ///
    /// # Errors
    /// If the part is missing or faulty.
    pub fn is_quantised(&self) -> Result<bool, Error> {
        let weights = self.weights(Part::Transformer)?;
        Ok(weights.all().any(|(_, located)| !located.entry.stored.is_some_and(StoredType::is_wide_float)))
    }

    /// The changes of USO's LoRA, and the digest of its numbers.
    pub(crate) fn lora_changes(&self) -> Result<(Changes, String), Error> {
        let (adapter, weights) = (self.lora()?, self.weights(Part::Lora)?);
        let fault = |error: candle_core::Error| weights.fault(&error);
        let changes = Changes::read(adapter, &self.config().lora).map_err(fault)?;
        let mut digest = Sha256::new();
        for (name, located) in weights.all() {
            digest.update(name);
            digest.update(located.bytes().map_err(fault)?);
        }
        Ok((changes, hex::encode(digest.finalize())))
    }

    /// The transformer with the given changes and placement.
    ///
    /// # Errors
    /// [`Error::Weights`] for a tensor that is missing or misshapen.
    pub fn flux_with(&self, changes: Changes, place: &Place, placement: &Placement) -> Result<Flux, Error> {
        let weights = self.weights(Part::Transformer)?;
        let place = Place { keep: placement.keep, activations: Activations::Short, ..place.clone() };
        let source = Source { config: self.config().flux, weights: weights.clone(), changes, place };
        Flux::new(&source, placement).map_err(|error| weights.fault(&error))
    }

    /// The autoencoder.
    ///
    /// # Errors
    /// As [`Model::flux`].
    pub fn autoencoder(&self, place: &Place) -> Result<Autoencoder, Error> {
        self.build(Part::Autoencoder, place, |vb| Autoencoder::new(&self.config().ae, vb))
    }

    /// The style projector.
    ///
    /// # Errors
    /// As [`Model::flux`].
    pub fn projector(&self, place: &Place) -> Result<StyleProjector, Error> {
        self.build(Part::Projector, place, |vb| StyleProjector::new(&self.config().projector, vb))
    }

    /// The T5 encoder. In half precision its states overflow, so it is then stored in float32.
    ///
    /// # Errors
    /// As [`Model::flux`].
    pub fn t5_encoder(&self, place: &Place) -> Result<T5, Error> {
        self.t5_encoder_with(place, placement::Blocks::Resident)
    }

    /// The T5 encoder with its blocks on the device, or copied there for each prompt.
    pub(super) fn t5_encoder_with(&self, place: &Place, blocks: placement::Blocks) -> Result<T5, Error> {
        let dtype = if place.dtype == DType::F16 { DType::F32 } else { place.dtype };
        let place = Place { dtype, ..place.clone() };
        let weights = self.weights(Part::T5)?;
        let (config, changes) = (self.t5()?.clone(), Changes::default());
        let source = Source { config, weights: weights.clone(), changes, place };
        T5::new(&source, blocks).map_err(|error| weights.fault(&error))
    }

    /// The text half of CLIP.
    ///
    /// # Errors
    /// As [`Model::flux`].
    pub fn clip_encoder(&self, place: &Place) -> Result<Clip, Error> {
        let config = self.clip()?;
        self.build(Part::Clip, place, |vb| Clip::new(config, vb))
    }

    /// The SigLIP vision encoder.
    ///
    /// # Errors
    /// As [`Model::flux`].
    pub fn siglip_encoder(&self, place: &Place) -> Result<Siglip, Error> {
        let config = self.siglip()?;
        self.build(Part::Siglip, place, |vb| Siglip::new(config, vb.pp("vision_model")))
    }

    /// The tokenizers of T5 and CLIP.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] or [`Error::ModelFile`] naming the file that cannot be used.
    pub fn tokenizers(&self) -> Result<(T5Tokenizer, ClipTokenizer), Error> {
        let folder = |part: Part| {
            self.folder_of_small(part).unwrap_or_else(|| part.place().trim_end_matches('/').to_owned())
        };
        let (at, clip_at) = (folder(Part::T5), folder(Part::Clip));
        let t5 = T5Tokenizer::load(self.files(), &at)?;
        check_ids(&at, t5.source(), t5.largest_id(), self.t5()?.vocab_size)?;
        let clip = ClipTokenizer::load(self.files(), &clip_at)?;
        check_ids(&clip_at, clip.source(), clip.largest_id(), self.clip()?.vocab_size)?;
        Ok((t5, clip))
    }

    /// Normalisation of pixels by SigLIP's processor.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if the file beside the encoder cannot be read.
    pub fn normalisation(&self) -> Result<Normalisation, Error> {
        const NAME: &str = "preprocessor_config.json";
        match self.folder_of_small(Part::Siglip) {
            Some(folder) => Normalisation::read(self.files(), &inside(&folder, NAME)),
            None if self.origin(Part::Siglip) == Some(&Origin::Embedded) => Ok(Normalisation::published()),
            None => Normalisation::read(self.files(), &format!("{}{NAME}", Part::Siglip.place())),
        }
    }

    /// An encoder on the device, or copied there for each use.
    pub(super) fn loaded_part<T>(
        &self,
        part: Part,
        place: &Place,
        lies: placement::Place,
        build: impl Fn(VarBuilder) -> CandleResult<T> + 'static,
    ) -> Result<LoadedPart<T>, Error> {
        let weights = self.weights(part)?;
        LoadedPart::new(&weights, place, lies, build).map_err(|error| weights.fault(&error))
    }

    fn build<T>(
        &self,
        part: Part,
        place: &Place,
        new: impl FnOnce(VarBuilder) -> CandleResult<T>,
    ) -> Result<T, Error> {
        let weights = self.weights(part)?;
        new(weights.builder(place.dtype, &place.device)).map_err(|error| weights.fault(&error))
    }
}

/// Refuses a tokenizer with ids for which its encoder has no embedding. It has those below `vocabulary`.
fn check_ids(folder: &str, source: TokenizerSource, largest: u32, vocabulary: usize) -> Result<(), Error> {
    if largest as usize >= vocabulary {
        let reason =
            format!("the tokenizer ({source}) has ids up to {largest}, the weights {vocabulary} embeddings");
        return Err(missing(folder, reason));
    }
    tracing::info!(folder, %source, "tokenizer of {folder}: {source}");
    Ok(())
}
