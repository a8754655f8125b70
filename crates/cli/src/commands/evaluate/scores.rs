//! Scores that are there from before, and those that are added. Each is kept with all that it depends on, so that none is
//! computed twice.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uso_engine::scorers::Profile;

use super::compare::Comparison;
use super::log::Log;
use super::measure::{Encoder, Measure};

/// How the scores of each encoder are made.
pub(super) type Profiles = BTreeMap<Encoder, Profile>;

/// What a score depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) measure: Measure,
    /// Digest of the whole profile.
    pub(super) profile: String,
    /// Digest of the picture's file.
    pub(super) picture: String,
    /// Digest of the reference's file, or of the prompt.
    pub(super) against: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    value: f32,
}

/// All known scores.
pub(super) struct Scores {
    known: HashMap<Key, f32>,
    log: Log,
}

impl Scores {
    /// Opens the file of scores.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let (log, entries) = Log::open::<Entry>(path)?;
        Ok(Self { known: entries.into_iter().map(|entry| (entry.key, entry.value)).collect(), log })
    }

    pub(super) fn knows(&self, key: &Key) -> bool {
        self.known.contains_key(key)
    }

    /// Keeps a score.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn add(&mut self, key: Key, value: f32) -> anyhow::Result<()> {
        self.log.add(&Entry { key: key.clone(), value })?;
        self.known.insert(key, value);
        Ok(())
    }

    /// The value of a comparison: the mean of its scores.
    ///
    /// # Errors
    /// If a score is missing.
    pub(super) fn value(&self, profiles: &Profiles, comparison: &Comparison) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        let keys = keys(profiles, comparison);
        for key in &keys {
            sum += f64::from(*self.known.get(key).context("a score is missing")?);
        }
        Ok(sum / keys.len().max(1) as f64)
    }
}

/// The scores that a comparison consists of, in the order of its others.
pub(super) fn keys(profiles: &Profiles, comparison: &Comparison) -> Vec<Key> {
    let measure = comparison.column.measure;
    let profile = profiles.get(&measure.encoder()).map(digest).unwrap_or_default();
    let key = |against: &str| Key {
        measure,
        profile: profile.clone(),
        picture: comparison.picture.sha256.clone(),
        against: against.to_owned(),
    };
    comparison.others.iter().map(|other| key(other.sha256())).collect()
}

/// Digest of all of a profile: scores of another one are other scores.
fn digest(profile: &Profile) -> String {
    let Profile { name, weights, preprocessing, feature } = profile;
    let text =
        [name, weights, preprocessing, feature].map(|part| format!("{}:{part}\n", part.len())).concat();
    hex::encode(&Sha256::digest(text)[..16])
}

#[cfg(test)]
mod tests {
    use uso_engine::scorers::ScorerKind;

    use super::super::compare::{Other, Role};
    use super::super::kind::TaskKind;
    use super::super::measure::Column;
    use super::super::suite::Reference;
    use super::*;

    fn profiles(weights: &str, preprocessing: &str) -> Profiles {
        let profile = Profile {
            name: "csd-vitl14@0".into(),
            weights: weights.into(),
            preprocessing: preprocessing.into(),
            feature: "class token".into(),
        };
        [(Encoder::Scorer(ScorerKind::Csd), profile)].into()
    }

    fn comparison() -> Comparison {
        let reference = |name: &str| Reference { path: name.into(), sha256: name.into() };
        Comparison {
            column: Column { kind: TaskKind::Style, measure: Measure::Csd },
            role: Role::Own,
            item: Some(0),
            picture: reference("p"),
            others: ["ink", "oil"].map(|name| Other::Picture(reference(name))).into(),
        }
    }

    #[test]
    fn scores_are_kept_for_their_profile_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        let (ours, comparison) = (profiles("1", "bicubic"), comparison());
        let mut scores = Scores::open(&path).unwrap();
        for (key, value) in keys(&ours, &comparison).into_iter().zip([0.25, 0.75]) {
            scores.add(key, value).unwrap();
        }
        drop(scores);

        let scores = Scores::open(&path).unwrap();
        assert_eq!(scores.value(&ours, &comparison).unwrap(), 0.5);
        for other in [profiles("2", "bicubic"), profiles("1", "lanczos")] {
            assert!(keys(&other, &comparison).iter().all(|key| !scores.knows(key)));
            assert!(scores.value(&other, &comparison).is_err());
        }
    }
}
