//! The scorers of a worker: one picture at a time, on a thread where it holds up neither runtime nor device.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;
use uso_engine::device::Device;
use uso_engine::scorers::picture::PHASH;
use uso_engine::scorers::{PictureHash, Score, ScorerKind, Scorers, Scores, StyleScores};
use uso_engine::{Error as EngineError, Image, scripted};
use uso_queue::{Measure, Scorer};

use crate::Error;

/// Name of the profile of made-up scores.
const SCRIPTED: &str = "scripted-1";

/// The scorers that a worker has. They compute on the CPU.
#[derive(Clone)]
pub struct Scoring {
    scorers: Vec<Scorer>,
    profiles: Vec<String>,
    memory: u64,
    /// None for scripted ones.
    loaded: Option<Arc<Mutex<Scorers>>>,
}

/// What is to be scored, against what it was made from.
pub(crate) struct Scored<'a> {
    pub(crate) picture: &'a Image,
    pub(crate) content: Option<&'a Image>,
    pub(crate) styles: &'a [Image],
    pub(crate) prompt: &'a str,
}

/// What scorers say of a picture.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdicts {
    pub(crate) scores: BTreeMap<Measure, f64>,
    /// How each of these is made.
    pub(crate) profiles: BTreeMap<Measure, String>,
    /// Perceptual hash in hexadecimal.
    pub(crate) phash: String,
}

impl Scoring {
    /// Loads the scorers whose folders are in `folder`, see [`ScorerKind::folder`]. Blocks.
    ///
    /// # Errors
    /// As [`Scorers::load`]; [`EngineError::ModelFile`] if there is none.
    pub fn load(folder: &Path) -> Result<Self, EngineError> {
        let found = |kind: &ScorerKind| folder.join(kind.folder()).is_dir();
        let kinds: Vec<ScorerKind> = ScorerKind::ALL.into_iter().filter(found).collect();
        if kinds.is_empty() {
            let folders = ScorerKind::ALL.map(ScorerKind::folder).join(", ");
            let reason = format!("it has none of the folders {folders}");
            return Err(EngineError::ModelFile { file: folder.to_owned(), reason });
        }
        let scorers = kinds.iter().map(|kind| match kind {
            ScorerKind::Clip => Scorer::Clip,
            ScorerKind::Dino => Scorer::Dino,
            ScorerKind::Csd => Scorer::Csd,
        });
        Ok(Self::new(scorers.collect(), Scorers::load(folder, &kinds, &Device::Cpu)?))
    }

    /// The bundled model's own scorer. Blocks.
    ///
    /// # Errors
    /// As [`Scorers::bundled`].
    pub fn bundled() -> Result<Self, EngineError> {
        Ok(Self::new(vec![Scorer::Bundled], Scorers::bundled(&Device::Cpu)?))
    }

    /// Scorers whose scores are made up from a picture's seed, see [`scripted::score`].
    pub fn scripted(scorers: &[Scorer]) -> Self {
        Self { scorers: scorers.to_vec(), profiles: vec![SCRIPTED.into()], memory: 0, loaded: None }
    }

    fn new(scorers: Vec<Scorer>, loaded: Scorers) -> Self {
        let profiles = loaded.profiles().map(|profile| profile.name.clone()).collect();
        Self { scorers, profiles, memory: loaded.memory(), loaded: Some(Arc::new(Mutex::new(loaded))) }
    }

    /// Which scorers there are.
    pub fn scorers(&self) -> &[Scorer] {
        &self.scorers
    }

    /// Names of their profiles: the model and the first digits of its weights' digest.
    pub fn profiles(&self) -> &[String] {
        &self.profiles
    }

    /// Bytes of host memory that they take.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// The loaded scorers, for one who may then take the memory that scoring needs; none for scripted ones.
    pub(crate) fn loaded(&self) -> Option<&Arc<Mutex<Scorers>>> {
        self.loaded.as_ref()
    }

    /// What some scorers must be here for.
    ///
    /// # Errors
    /// [`Error::NoScorer`] naming one that is not: the queue gives such a job to others unless it knows no better.
    pub(crate) fn check(&self, asked: &[Scorer]) -> Result<(), Error> {
        match asked.iter().find(|scorer| !self.scorers.contains(scorer)) {
            Some(missing) => Err(Error::NoScorer(missing.as_str())),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Scoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoring").field("profiles", &self.profiles).finish_non_exhaustive()
    }
}

/// Scores a picture by the scorers that are asked. Blocks.
pub(crate) fn score(
    loaded: &mut Scorers,
    asked: &[Scorer],
    scored: &Scored<'_>,
) -> Result<Verdicts, EngineError> {
    let kinds: Vec<ScorerKind> = asked.iter().filter_map(|scorer| kind(*scorer)).collect();
    let Scored { picture, content, styles, prompt } = *scored;
    Ok(verdicts(loaded.score_by(&kinds, picture, content, styles, prompt)?))
}

/// The made-up scores of the picture of a seed.
pub(crate) fn scripted(asked: &[Scorer], seed: u64, picture: &Image) -> Result<Verdicts, EngineError> {
    let given = Measure::THRESHOLDS.into_iter().chain([Measure::Flatness]);
    let given = given.filter(|measure| measure.scorer().is_none_or(|scorer| asked.contains(&scorer)));
    let mut verdicts = Verdicts { phash: PictureHash::of(picture)?.to_string(), ..Verdicts::default() };
    for measure in given {
        verdicts.add(measure, scripted::score(seed, measure.as_str()), SCRIPTED);
    }
    Ok(verdicts)
}

fn kind(scorer: Scorer) -> Option<ScorerKind> {
    match scorer {
        Scorer::Clip => Some(ScorerKind::Clip),
        Scorer::Dino => Some(ScorerKind::Dino),
        Scorer::Csd => Some(ScorerKind::Csd),
        Scorer::Bundled => None,
    }
}

fn verdicts(scores: Scores) -> Verdicts {
    let mut verdicts = Verdicts { phash: scores.phash.value.to_string(), ..Verdicts::default() };
    debug_assert_eq!(scores.phash.profile, PHASH);
    let of = |score: Option<Score>| score.map(|Score { value, profile }| (value, profile));
    let mean = |score: Option<StyleScores>| score.map(|score| (score.mean, score.profile));
    for (measure, score) in [
        (Measure::ClipI, of(scores.clip_i)),
        (Measure::ClipT, of(scores.clip_t)),
        (Measure::Dino, of(scores.dino)),
        (Measure::Csd, mean(scores.csd)),
        (Measure::SiglipSubject, of(scores.siglip_subject)),
        (Measure::SiglipStyle, mean(scores.siglip_style)),
        (Measure::Sharpness, of(Some(scores.sharpness))),
        (Measure::Flatness, of(Some(scores.flatness))),
    ] {
        if let Some((value, profile)) = score {
            verdicts.add(measure, f64::from(value), &profile);
        }
    }
    verdicts
}

impl Verdicts {
    /// Adds a score as it is recorded, with six digits behind the point, so that a record tells what was decided by.
    fn add(&mut self, measure: Measure, value: f64, profile: &str) {
        self.scores.insert(measure, (value * 1e6).round() / 1e6);
        self.profiles.insert(measure, profile.to_owned());
    }
}
