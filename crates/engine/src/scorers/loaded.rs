//! Loaded scorers: from a picture to its features.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::clip::Clip;
use super::feature::{Feature, Features, cosine, direction};
use super::file::{Found, find};
use super::kind::ScorerKind;
use super::prepare::Preprocessing;
use super::scores::Profile;
use super::siglip::SiglipScorer;
use super::tower::{CSD, DINO, Tower};
use crate::{Error, Image, ModelFiles};

/// A model that turns a picture into features.
pub(super) trait Encoder {
    /// How it does.
    fn profile(&self) -> &Profile;

    /// Bytes of its weights, and of what one picture needs.
    fn memory(&self) -> u64;

    /// The features of a picture.
    fn encode(&self, image: &Image) -> Result<Vec<Feature>, Error>;

    /// Cosines between a feature and the one at `index` of each reference.
    fn compare(
        &self,
        kept: &mut Features,
        (index, feature): (usize, &Feature),
        references: &[Image],
    ) -> Result<Vec<f32>, Error> {
        let each = references.iter().map(|reference| {
            let features = kept.of(self.profile(), reference, |image| self.encode(image))?;
            Ok(features.get(index).map_or(0.0, |other| cosine(feature, other)))
        });
        each.collect()
    }
}

/// A scorer with a weight file of its own.
pub(super) struct Loaded<M> {
    pub(super) model: M,
    preprocessing: Preprocessing,
    profile: Profile,
    memory: u64,
    device: Device,
}

impl<M> Loaded<M> {
    fn new(model: M, found: Found, device: &Device) -> Self {
        let Found { about, preprocessing, .. } = found;
        Self { model, preprocessing, profile: about.profile, memory: about.memory, device: device.clone() }
    }

    fn pixels(&self, image: &Image) -> Result<Tensor, Error> {
        let side = self.preprocessing.side() as usize;
        Ok(Tensor::from_vec(self.preprocessing.pixels(image)?, (1, 3, side, side), &self.device)?)
    }
}

impl Loaded<Clip> {
    /// Loads CLIP from a folder.
    ///
    /// # Errors
    /// As [`find`] and [`Clip::load`].
    pub(super) fn clip(folder: &Path, device: &Device) -> Result<Self, Error> {
        let files = ModelFiles::Folder(folder.to_owned());
        let found = find(&files, folder, ScorerKind::Clip)?;
        let model = Clip::load(&files, &found.weights, &found.sizes, device)?;
        Ok(Self::new(model, found, device))
    }

    /// The feature of a text, and how many of its tokens were cut.
    ///
    /// # Errors
    /// As [`Clip::text`].
    pub(super) fn text(&self, text: &str) -> Result<(Feature, u32), Error> {
        let (feature, count) = self.model.text(text)?;
        Ok((direction(&feature, &self.profile)?, count.cut))
    }
}

impl Loaded<Tower> {
    /// Loads DINO from a folder.
    ///
    /// # Errors
    /// As [`find`]; if a tensor cannot be read.
    pub(super) fn dino(folder: &Path, device: &Device) -> Result<Self, Error> {
        Self::tower(ScorerKind::Dino, folder, device)
    }

    /// Loads CSD from a folder.
    ///
    /// # Errors
    /// As [`find`]; if a tensor cannot be read.
    pub(super) fn csd(folder: &Path, device: &Device) -> Result<Self, Error> {
        Self::tower(ScorerKind::Csd, folder, device)
    }

    fn tower(kind: ScorerKind, folder: &Path, device: &Device) -> Result<Self, Error> {
        let found = find(&ModelFiles::Folder(folder.to_owned()), folder, kind)?;
        let layout = if kind == ScorerKind::Dino { &DINO } else { &CSD };
        let model = Tower::new(layout, &found.sizes, &found.weights.builder(DType::F32, device))
            .map_err(|error| found.weights.fault(&error))?;
        Ok(Self::new(model, found, device))
    }
}

impl Encoder for Loaded<Clip> {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn memory(&self) -> u64 {
        self.memory
    }

    fn encode(&self, image: &Image) -> Result<Vec<Feature>, Error> {
        let feature = self.model.picture(&self.pixels(image)?)?;
        Ok(vec![direction(&feature, &self.profile)?])
    }
}

impl Encoder for Loaded<Tower> {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn memory(&self) -> u64 {
        self.memory
    }

    fn encode(&self, image: &Image) -> Result<Vec<Feature>, Error> {
        let feature = self.model.feature(&self.pixels(image)?)?;
        Ok(vec![direction(&feature, &self.profile)?])
    }
}

impl Encoder for SiglipScorer {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn memory(&self) -> u64 {
        self.memory
    }

    /// The feature of the subject, then that of the style.
    fn encode(&self, image: &Image) -> Result<Vec<Feature>, Error> {
        let features = self.features(&self.preprocessing.pixels(image)?)?;
        features.iter().map(|feature| direction(feature, &self.profile)).collect()
    }
}
