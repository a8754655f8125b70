//! The parts of a model, each from its weights.

use candle_core::{DType, Device, Result as CandleResult};
use candle_nn::VarBuilder;

use super::autoencoder::Autoencoder;
use super::clip::Clip;
use super::flux::Flux;
use super::lora::{self, Changes};
use super::siglip::Siglip;
use super::style::StyleProjector;
use super::t5::T5;
use crate::Error;
use crate::model::{Model, Origin, Part};
use crate::preprocess::Normalisation;
use crate::tokenize::{ClipTokenizer, T5Tokenizer};

/// Small files that pictures depend on.
const T5_FILES: &[&str] = &["tokenizer.json"];
const CLIP_FILES: &[&str] = &["tokenizer.json", "merges.txt", "vocab.json"];
const SIGLIP_FILES: &[&str] = &["preprocessor_config.json"];

/// Where and in which precision a model is built.
#[derive(Debug, Clone)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// The type of its numbers.
    pub dtype: DType,
}

impl Model {
    /// The transformer, with USO's LoRA merged in.
    ///
    /// # Errors
    /// [`Error::Weights`] for a tensor that is missing, misshapen or left over in either file.
    pub fn flux(&self, place: &Place) -> Result<Flux, Error> {
        let config = self.config();
        let changes = Changes::read(self.lora()?, &config.lora).map_err(|error| lora_fault(self, &error))?;
        let base = self.weights(Part::Transformer)?;
        let builder = lora::merged(&base, changes, place.dtype, &place.device);
        Flux::new(&config.flux, builder).map_err(|error| base.fault(&error))
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

    /// The T5 encoder. In half precision its states overflow: it is then kept in float32.
    ///
    /// # Errors
    /// As [`Model::flux`].
    pub fn t5_encoder(&self, place: &Place) -> Result<T5, Error> {
        let dtype = if place.dtype == DType::F16 { DType::F32 } else { place.dtype };
        let place = Place { dtype, ..place.clone() };
        let config = self.t5()?;
        self.build(Part::T5, &place, |vb| T5::new(config, vb))
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
        let folder = |part, names| {
            self.folder_with(part, names).unwrap_or_else(|| part.place().trim_end_matches('/').to_owned())
        };
        Ok((
            T5Tokenizer::load(self.files(), &folder(Part::T5, T5_FILES))?,
            ClipTokenizer::load(self.files(), &folder(Part::Clip, CLIP_FILES))?,
        ))
    }

    /// What SigLIP's processor does to pixels.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if the file beside the encoder cannot be read.
    pub fn normalisation(&self) -> Result<Normalisation, Error> {
        match self.folder_with(Part::Siglip, SIGLIP_FILES) {
            Some(folder) => Normalisation::read(self.files(), &format!("{folder}/{}", SIGLIP_FILES[0])),
            None if self.origin(Part::Siglip) == Some(&Origin::Embedded) => Ok(Normalisation::published()),
            None => {
                Normalisation::read(self.files(), &format!("{}{}", Part::Siglip.place(), SIGLIP_FILES[0]))
            }
        }
    }

    /// Small files that pictures depend on and that lie beside the weights.
    pub(crate) fn small_files(&self) -> Vec<String> {
        let parts = [(Part::T5, T5_FILES), (Part::Clip, CLIP_FILES), (Part::Siglip, SIGLIP_FILES)];
        let paths =
            parts.into_iter().filter_map(|(part, names)| Some((self.folder_with(part, names)?, names)));
        let paths =
            paths.flat_map(|(folder, names)| names.iter().map(move |name| format!("{folder}/{name}")));
        paths.filter(|path| self.files().contains(path)).collect()
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

fn lora_fault(model: &Model, error: &candle_core::Error) -> Error {
    match model.weights(Part::Lora) {
        Ok(weights) => weights.fault(error),
        Err(error) => error,
    }
}
