//! Runs the scorers on what has no score yet.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use uso_dataset::file;
use uso_engine::device::{self, Device};
use uso_engine::scorers::{ScorerFile, ScorerKind, Scorers, inspect};
use uso_engine::{DecodeLimits, Image};
use uso_store::MAX_REFERENCE;

use super::compare::{Comparison, Other};
use super::measure::{Encoder, Measure};
use super::scores::{Key, Profiles, Scores, keys};
use super::suite::Reference;
use crate::args::ScorersFrom;
use crate::commands::model::published_scorer;

/// The scorers that there are, before they are loaded.
pub(super) struct Available {
    from: ScorersFrom,
    device: String,
    pub(super) profiles: Profiles,
    /// Those whose weight file is the published one, as far as its digest is known.
    pub(super) published: Vec<ScorerKind>,
}

impl Available {
    /// Looks at the scorers, so that a fault is known before any picture is made. Reads only some of their numbers.
    ///
    /// # Errors
    /// If there is none, one of them is faulty, or the device cannot be opened.
    pub(super) fn inspect(from: &ScorersFrom, device: &str) -> anyhow::Result<Self> {
        let opened = device::open(device)?;
        let (mut profiles, mut published) = (Profiles::new(), Vec::new());
        match from {
            ScorersFrom::Bundled => {
                let scorers = Scorers::bundled(&opened)?;
                profiles.extend(scorers.profiles().map(|profile| (Encoder::Bundled, profile.clone())));
            }
            ScorersFrom::Folder(folder) => {
                for file in of_folder(folder)? {
                    if is_published(folder, &file)? {
                        published.push(file.kind);
                    }
                    profiles.insert(Encoder::Scorer(file.kind), file.profile);
                }
            }
        }
        Ok(Self { from: from.clone(), device: device.to_owned(), profiles, published })
    }

    /// The scorers that are not there.
    pub(super) fn missing(&self) -> impl Iterator<Item = ScorerKind> {
        let none = matches!(self.from, ScorersFrom::Bundled);
        let missing = move |kind: &ScorerKind| !none && !self.profiles.contains_key(&Encoder::Scorer(*kind));
        ScorerKind::ALL.into_iter().filter(missing)
    }

    fn load(&self) -> anyhow::Result<Scorers> {
        let device: Device = device::open(&self.device)?;
        let kinds: Vec<_> = self.profiles.keys().filter_map(|encoder| encoder.scorer()).collect();
        let loaded = match &self.from {
            ScorersFrom::Bundled => Scorers::bundled(&device),
            ScorersFrom::Folder(folder) => Scorers::load(folder, &kinds, &device),
        };
        loaded.context("cannot load the scorers")
    }

    /// Computes the scores of comparisons that are not known yet; says how many pictures were encoded for it. Blocks.
    ///
    /// # Errors
    /// If a picture cannot be read, or a scorer fails. What was computed until then is kept.
    pub(super) fn fill(
        &self,
        comparisons: &[Comparison],
        scores: &mut Scores,
        mut progress: impl FnMut(usize, usize),
    ) -> anyhow::Result<usize> {
        let open = open(&self.profiles, comparisons, scores);
        if open.is_empty() {
            return Ok(0);
        }
        let mut features = Features { scorers: self.load()?, kept: HashMap::new() };
        let total = open.len();
        for (done, (picture, pairs)) in open.into_iter().enumerate() {
            score(&mut features, picture, pairs, scores)?;
            progress(done + 1, total);
        }
        Ok(total)
    }
}

/// The scorers of a folder.
fn of_folder(folder: &Path) -> anyhow::Result<Vec<ScorerFile>> {
    let kinds = ScorerKind::ALL.into_iter().filter(|kind| folder.join(kind.folder()).is_dir());
    let files: Vec<_> = kinds.map(|kind| inspect(folder, kind)).collect::<Result<_, _>>()?;
    let names = ScorerKind::ALL.map(ScorerKind::folder).join(", ");
    ensure!(!files.is_empty(), "--scorers: {} has none of the folders {names}", folder.display());
    Ok(files)
}

/// Whether a weight file is the published one. Reads all of it, if that one's digest is known.
fn is_published(folder: &Path, file: &ScorerFile) -> anyhow::Result<bool> {
    let Some(published) = published_scorer(file.kind.folder()) else { return Ok(false) };
    let place = folder.join(&file.file);
    let digest = sha256(&place).with_context(|| format!("cannot read {}", place.display()))?;
    Ok(digest == published)
}

/// Digest of a file of any size, in hexadecimal.
fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut digest) = (file::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// The scores that are not known, by picture, in the order in which pictures come first.
fn open<'a>(
    profiles: &Profiles,
    comparisons: &'a [Comparison],
    scores: &Scores,
) -> Vec<(&'a Reference, Vec<(Key, &'a Other)>)> {
    let mut open: Vec<(&Reference, Vec<(Key, &Other)>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for comparison in comparisons {
        for (key, other) in keys(profiles, comparison).into_iter().zip(&comparison.others) {
            if scores.knows(&key) {
                continue;
            }
            let picture = &comparison.picture;
            let place = *places.entry(&picture.sha256).or_insert_with(|| {
                open.push((picture, Vec::new()));
                open.len() - 1
            });
            open[place].1.push((key, other));
        }
    }
    open
}

fn score(
    features: &mut Features,
    picture: &Reference,
    pairs: Vec<(Key, &Other)>,
    scores: &mut Scores,
) -> anyhow::Result<()> {
    let mut own = Encoded::default();
    for (key, other) in pairs {
        // Two columns may need the same score.
        if scores.knows(&key) {
            continue;
        }
        let against = features.of_other(key.measure, other)?;
        let ours = own.feature(&features.scorers, picture, key.measure)?;
        let value = cosine(ours, &against);
        scores.add(key, value)?;
    }
    Ok(())
}

/// The features of one picture, by encoder.
#[derive(Default)]
struct Encoded {
    image: Option<Image>,
    features: HashMap<Encoder, Vec<Vec<f32>>>,
}

impl Encoded {
    fn feature(
        &mut self,
        scorers: &Scorers,
        picture: &Reference,
        measure: Measure,
    ) -> anyhow::Result<&[f32]> {
        let encoder = measure.encoder();
        if !self.features.contains_key(&encoder) {
            let image = match self.image.take() {
                Some(image) => image,
                None => read(&picture.path)?,
            };
            let encoded = encode(scorers, encoder, &image)
                .with_context(|| format!("cannot score {}", picture.path.display()))?;
            self.image = Some(image);
            self.features.insert(encoder, encoded);
        }
        let found = self.features.get(&encoder).and_then(|features| features.get(measure.feature()));
        found.map(Vec::as_slice).with_context(|| format!("{measure} has no scorer"))
    }
}

/// The features of references and prompts, which are needed again and again.
struct Features {
    scorers: Scorers,
    kept: HashMap<(Measure, String), Vec<f32>>,
}

impl Features {
    fn of_other(&mut self, measure: Measure, other: &Other) -> anyhow::Result<Vec<f32>> {
        let key = (measure, other.sha256().to_owned());
        if let Some(known) = self.kept.get(&key) {
            return Ok(known.clone());
        }
        let feature = match other {
            Other::Picture(reference) => {
                Encoded::default().feature(&self.scorers, reference, measure)?.to_vec()
            }
            Other::Prompt { text, .. } => {
                self.scorers.text_feature(text)?.with_context(|| format!("{measure} has no scorer"))?
            }
        };
        self.kept.insert(key, feature.clone());
        Ok(feature)
    }
}

fn encode(scorers: &Scorers, encoder: Encoder, image: &Image) -> anyhow::Result<Vec<Vec<f32>>> {
    Ok(match encoder {
        Encoder::Scorer(kind) => scorers.feature(kind, image)?.into_iter().collect(),
        Encoder::Bundled => scorers.bundled_features(image)?.into_iter().flatten().collect(),
    })
}

fn read(path: &Path) -> anyhow::Result<Image> {
    let read = file::read(path, MAX_REFERENCE);
    let bytes = read.with_context(|| format!("cannot read {}", path.display()))?;
    Image::decode(&bytes, &DecodeLimits::default()).with_context(|| format!("cannot use {}", path.display()))
}

/// Cosine of the angle between two vectors of length 1.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let sum: f64 = one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sum.clamp(-1.0, 1.0) as f32
}
