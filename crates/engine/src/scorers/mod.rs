//! Scores of a finished picture, for a quality gate: does it show the subject of its content reference (CLIP-I, DINO),
//! the style of its style references (CSD), what the prompt says (CLIP-T); is it sharp, is it flat, is it a near-double.
//!
//! Published work on USO reports these measures without the code that made them. Each score therefore names its
//! [`Profile`]: weights, preprocessing, feature. Compare scores of one profile only, and those of papers with care.
//!
//! Each scorer lies in a folder of its own, see [`ScorerKind::folder`] and [`ScorerKind::files`]. Loading fails, and
//! names the tensor, if one is missing, misshapen or without a place.

mod clip;
mod feature;
mod file;
mod kind;
mod loaded;
pub mod picture;
mod prepare;
mod scores;
mod siglip;
mod sizes;
mod tower;

use std::path::Path;

use candle_core::Device;

use self::clip::Clip;
use self::feature::{Feature, Features, cosine};
pub use self::file::{ScorerFile, inspect};
pub use self::kind::{FOLDER, ScorerKind};
use self::loaded::{Encoder, Loaded};
pub use self::picture::PictureHash;
use self::picture::{FLATNESS, PHASH, SHARPNESS};
pub use self::prepare::Preprocessing;
pub use self::scores::{HashScore, Profile, Score, Scores, StyleScores};
use self::siglip::SiglipScorer;
use self::tower::Tower;
use crate::{CacheCounts, Error, Image};

/// The loaded scorers, and features of references that pictures were compared with before.
///
/// They compute in float32, one picture at a time. With a CUDA device, use and drop them on the thread that loaded them.
pub struct Scorers {
    clip: Option<Loaded<Clip>>,
    dino: Option<Loaded<Tower>>,
    csd: Option<Loaded<Tower>>,
    siglip: Option<SiglipScorer>,
    kept: Features,
}

impl Scorers {
    /// Loads the scorers of `kinds` from a folder with one folder for each. They may be on another device than the
    /// engine, for example on the CPU.
    ///
    /// # Errors
    /// As [`inspect`]; [`Error::Tokenizer`] if CLIP's tokenizer cannot be used; [`Error::OutOfMemory`].
    pub fn load(folder: &Path, kinds: &[ScorerKind], device: &Device) -> Result<Self, Error> {
        let mut scorers = Self::none();
        for kind in kinds {
            match kind {
                ScorerKind::Clip => scorers.clip = Some(Loaded::clip(folder, device)?),
                ScorerKind::Dino => scorers.dino = Some(Loaded::dino(folder, device)?),
                ScorerKind::Csd => scorers.csd = Some(Loaded::csd(folder, device)?),
            }
        }
        Ok(scorers)
    }

    /// Scores of subject and style for pictures of the bundled model, by its own vision encoder. They are not CLIP-I, DINO
    /// or CSD, and are not called so.
    ///
    /// # Errors
    /// If the device fails.
    pub fn bundled(device: &Device) -> Result<Self, Error> {
        Ok(Self { siglip: Some(SiglipScorer::bundled(device)?), ..Self::none() })
    }

    fn none() -> Self {
        Self { clip: None, dino: None, csd: None, siglip: None, kept: Features::new() }
    }

    /// Bytes of memory that the loaded scorers take: weights, what one picture needs, and the kept features.
    pub fn memory(&self) -> u64 {
        self.kept.capacity() + self.encoders().map(|encoder| encoder.memory()).sum::<u64>()
    }

    /// The profiles of the loaded scorers.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.encoders().map(|encoder| encoder.profile())
    }

    /// How often the features of a reference were there from before.
    pub fn counts(&self) -> CacheCounts {
        self.kept.counts()
    }

    fn encoders(&self) -> impl Iterator<Item = &dyn Encoder> {
        fn as_dyn(encoder: Option<&impl Encoder>) -> Option<&dyn Encoder> {
            encoder.map(|encoder| encoder as &dyn Encoder)
        }
        let [clip, dino, csd] =
            [as_dyn(self.clip.as_ref()), as_dyn(self.dino.as_ref()), as_dyn(self.csd.as_ref())];
        [clip, dino, csd, as_dyn(self.siglip.as_ref())].into_iter().flatten()
    }

    /// The feature of a picture by the scorer of a kind, a vector of length 1, if that scorer is loaded.
    ///
    /// # Errors
    /// As [`Scorers::score`].
    pub fn feature(&self, kind: ScorerKind, picture: &Image) -> Result<Option<Vec<f32>>, Error> {
        let features = match kind {
            ScorerKind::Clip => self.clip.as_ref().map(|scorer| scorer.encode(picture)),
            ScorerKind::Dino => self.dino.as_ref().map(|scorer| scorer.encode(picture)),
            ScorerKind::Csd => self.csd.as_ref().map(|scorer| scorer.encode(picture)),
        };
        Ok(features.transpose()?.and_then(|features| Some(features.first()?.to_vec())))
    }

    /// The features of subject and style by the bundled model's encoder, vectors of length 1, if it is loaded.
    ///
    /// # Errors
    /// As [`Scorers::score`].
    pub fn bundled_features(&self, picture: &Image) -> Result<Option<Vec<Vec<f32>>>, Error> {
        let features = self.siglip.as_ref().map(|scorer| scorer.encode(picture)).transpose()?;
        Ok(features.map(|features| features.iter().map(|feature| feature.to_vec()).collect()))
    }

    /// CLIP's feature of a text, a vector of length 1, if CLIP is loaded.
    ///
    /// # Errors
    /// As [`Scorers::score`].
    pub fn text_feature(&self, text: &str) -> Result<Option<Vec<f32>>, Error> {
        let feature = self.clip.as_ref().map(|clip| clip.text(text)).transpose()?;
        Ok(feature.map(|(feature, _)| feature.to_vec()))
    }

    /// Scores a picture against what it was made from. References are whole pictures, not prepared for an engine; an
    /// empty prompt is not scored.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture; [`Error::Weights`] if a scorer gives numbers that are not finite;
    /// [`Error::OutOfMemory`] or [`Error::Device`] if the device fails.
    pub fn score(
        &mut self,
        picture: &Image,
        content: Option<&Image>,
        styles: &[Image],
        prompt: &str,
    ) -> Result<Scores, Error> {
        self.score_by(&ScorerKind::ALL, picture, content, styles, prompt)
    }

    /// The same by some of the loaded scorers; the bundled model's own is always among them.
    ///
    /// # Errors
    /// As [`Scorers::score`].
    pub fn score_by(
        &mut self,
        kinds: &[ScorerKind],
        picture: &Image,
        content: Option<&Image>,
        styles: &[Image],
        prompt: &str,
    ) -> Result<Scores, Error> {
        let mut scores = measured(picture, self.profiles().map(|profile| profile.name.clone()).collect())?;
        let Self { clip, dino, csd, siglip, kept } = self;
        let clip = clip.as_mut().filter(|_| kinds.contains(&ScorerKind::Clip));
        let dino = dino.as_mut().filter(|_| kinds.contains(&ScorerKind::Dino));
        let csd = csd.as_mut().filter(|_| kinds.contains(&ScorerKind::Csd));
        let content = content.map(std::slice::from_ref);
        if let Some(clip) = clip {
            score_clip(clip, kept, &mut scores, picture, content, prompt)?;
        }
        if let (Some(dino), Some(content)) = (dino, content) {
            scores.dino = subject(dino, kept, &dino.encode(picture)?, content)?;
        }
        if let (Some(csd), false) = (csd, styles.is_empty()) {
            scores.csd = style(csd, kept, csd.encode(picture)?.first(), (0, styles))?;
        }
        if let Some(siglip) = siglip
            && (content.is_some() || !styles.is_empty())
        {
            let features = siglip.encode(picture)?;
            scores.siglip_subject = subject(siglip, kept, &features, content.unwrap_or_default())?;
            scores.siglip_style = style(siglip, kept, features.get(1), (1, styles))?;
        }
        Ok(scores)
    }
}

/// The measures that need no model.
fn measured(picture: &Image, profiles: Vec<String>) -> Result<Scores, Error> {
    let score = |value, name: &str| Score { value, profile: name.into() };
    Ok(Scores {
        clip_i: None,
        dino: None,
        csd: None,
        clip_t: None,
        clip_t_cut: None,
        siglip_subject: None,
        siglip_style: None,
        sharpness: score(picture::sharpness(picture)?, SHARPNESS),
        flatness: score(picture::flatness(picture)?, FLATNESS),
        phash: HashScore { value: PictureHash::of(picture)?, profile: PHASH.into() },
        profiles,
    })
}

/// CLIP-I and CLIP-T, for which the picture is encoded once.
fn score_clip(
    clip: &Loaded<Clip>,
    kept: &mut Features,
    scores: &mut Scores,
    picture: &Image,
    content: Option<&[Image]>,
    prompt: &str,
) -> Result<(), Error> {
    if content.is_none() && prompt.is_empty() {
        return Ok(());
    }
    let features = clip.encode(picture)?;
    scores.clip_i = subject(clip, kept, &features, content.unwrap_or_default())?;
    if let (Some(feature), false) = (features.first(), prompt.is_empty()) {
        let (text, cut) = clip.text(prompt)?;
        scores.clip_t = Some(Score { value: cosine(feature, &text), profile: clip.profile().name.clone() });
        scores.clip_t_cut = Some(cut);
    }
    Ok(())
}

/// The cosine with the content reference, of the first feature of each; none without a reference.
fn subject(
    encoder: &impl Encoder,
    kept: &mut Features,
    features: &[Feature],
    content: &[Image],
) -> Result<Option<Score>, Error> {
    let Some(feature) = features.first() else { return Ok(None) };
    let value = encoder.compare(kept, (0, feature), content)?.first().copied();
    Ok(value.map(|value| Score { value, profile: encoder.profile().name.clone() }))
}

/// The cosines with the style references, of their features at an index; none without references.
fn style(
    encoder: &impl Encoder,
    kept: &mut Features,
    feature: Option<&Feature>,
    (index, styles): (usize, &[Image]),
) -> Result<Option<StyleScores>, Error> {
    let Some(feature) = feature else { return Ok(None) };
    let each = encoder.compare(kept, (index, feature), styles)?;
    Ok(StyleScores::new(each, &encoder.profile().name))
}
