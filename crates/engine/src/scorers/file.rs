//! Finds and checks the weight file of a scorer: every tensor in it is used, or known and counted as unused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::kind::ScorerKind;
use super::prepare::Preprocessing;
use super::scores::Profile;
use super::sizes::{self, Sizes};
use super::tower::{CSD, DINO};
use crate::files::missing;
use crate::model::expected::Expected;
use crate::model::no_place;
use crate::weights::{Located, StoredType, WeightFile, Weights};
use crate::{Error, ModelFiles};

/// What is known of a scorer before it is loaded.
#[derive(Debug, Clone, Serialize)]
pub struct ScorerFile {
    /// Which scorer it is.
    pub kind: ScorerKind,
    /// Its weight file, relative to the folder of all scorers.
    pub file: PathBuf,
    /// Tensors that are used.
    pub used: usize,
    /// Known tensors that are not used: buffers, heads and scales of training.
    pub unused: usize,
    /// Numbers in the tensors that are used.
    pub parameters: u64,
    /// Bytes of memory that it takes: its weights in float32, and what one picture needs at most.
    pub memory: u64,
    /// How its scores are made.
    pub profile: Profile,
}

/// A checked scorer, ready to be loaded.
pub(super) struct Found {
    pub(super) about: ScorerFile,
    pub(super) weights: Weights,
    pub(super) sizes: Sizes,
    pub(super) preprocessing: Preprocessing,
}

/// Looks at the file of a scorer in a folder with one folder for each; see [`ScorerKind::folder`]. Reads its header and
/// some of its numbers.
///
/// # Errors
/// [`Error::ModelFile`] if it is missing or no weight file; [`Error::Weights`] names a tensor that is missing, has the
/// wrong shape or type, or has no place.
pub fn inspect(folder: &Path, kind: ScorerKind) -> Result<ScorerFile, Error> {
    find(&ModelFiles::Folder(folder.to_owned()), folder, kind).map(|found| found.about)
}

pub(super) fn find(files: &ModelFiles, folder: &Path, kind: ScorerKind) -> Result<Found, Error> {
    let own = kind.folder();
    let mut paths = kind.files().iter().map(|name| format!("{own}/{name}"));
    let path = paths
        .find(|path| files.contains(path))
        .ok_or_else(|| missing(own, format!("{kind} is not there: none of {}", kind.files().join(", "))))?;
    let sizes = Sizes::read(files, kind)?;
    let expected = match kind {
        ScorerKind::Clip => sizes::clip(&sizes, &sizes::text(files)?),
        ScorerKind::Dino => DINO.expected(&sizes),
        ScorerKind::Csd => CSD.expected(&sizes),
    };
    let source = files.source(&path).map_err(|error| missing(&path, error.to_string()))?;
    let file = WeightFile::open(path.clone(), source, &folder.join(&path))
        .map_err(|reason| missing(&path, reason))?;
    let (weights, unused) = take(kind, file, &expected)?;
    let parameters = expected.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
    let preprocessing = preprocessing(kind, sizes.side as u32);
    let digest = digest(&weights)?;
    let about = ScorerFile {
        kind,
        file: path.into(),
        used: expected.len(),
        unused,
        parameters,
        memory: 4 * parameters + sizes.activations(),
        profile: profile(&sizes.name(kind), digest, &preprocessing, feature(kind)),
    };
    Ok(Found { about, weights, sizes, preprocessing })
}

/// Digest of weights in hexadecimal, the same in every container: names, types, shapes, all numbers of small tensors
/// and those at many places of large ones.
pub(super) fn digest(weights: &Weights) -> Result<String, Error> {
    let mut digest = Sha256::new();
    for (name, located) in weights.all() {
        let stored = located.entry.stored.map(|stored| stored.to_string()).unwrap_or_default();
        digest.update(format!("{name} {stored} {:?};", located.entry.shape));
        located.probe_numbers(&mut digest).map_err(|error| weights.fault(&error))?;
    }
    Ok(hex::encode(digest.finalize()))
}

/// A profile of weights with this digest.
pub(super) fn profile(model: &str, digest: String, preprocessing: &Preprocessing, feature: &str) -> Profile {
    const DIGITS: usize = 12;
    let name = format!("{model}@{}", digest.get(..DIGITS).unwrap_or(&digest));
    Profile { name, weights: digest, preprocessing: preprocessing.describe(), feature: feature.into() }
}

fn preprocessing(kind: ScorerKind, side: u32) -> Preprocessing {
    match kind {
        ScorerKind::Clip => Preprocessing::clip(side),
        ScorerKind::Dino => Preprocessing::dino(side),
        ScorerKind::Csd => Preprocessing::csd(side),
    }
}

fn feature(kind: ScorerKind) -> &'static str {
    match kind {
        ScorerKind::Clip => "projected features of picture and text",
        ScorerKind::Dino => "class token after the last norm",
        ScorerKind::Csd => "class token after the last norm, by the style head",
    }
}

/// Prefix that torch adds to the names of a model that is trained on several cards.
const PARALLEL: &str = "module.";

/// The expected tensors of a file, and the number of others that are known.
fn take(kind: ScorerKind, file: WeightFile, expected: &[Expected]) -> Result<(Weights, usize), Error> {
    let path = file.path.clone();
    let fault = |reason: String| Error::Weights { file: path.clone().into(), reason };
    if let Some(reason) = file.fault() {
        return Err(fault(reason));
    }
    let file = Arc::new(file);
    let mut all: BTreeMap<String, Located> = BTreeMap::new();
    for (name, entry) in &file.header.tensors {
        let bare = name.strip_prefix(PARALLEL).unwrap_or(name).to_owned();
        let located =
            Located { file: Arc::clone(&file), name: name.clone(), entry: entry.clone(), scale: None };
        all.insert(bare, located);
    }
    let is_parallel = file.header.tensors.keys().any(|name| name.starts_with(PARALLEL));
    let prefix = if is_parallel { PARALLEL } else { "" };
    let mut used = BTreeMap::new();
    for (name, shape) in expected {
        let Some(located) = all.remove(name) else {
            return Err(fault(format!("tensor {prefix}{name} is missing")));
        };
        check(&located, shape).map_err(&fault)?;
        used.insert(name.clone(), located);
    }
    let unknown: BTreeSet<&String> = all.keys().filter(|name| !is_unused(kind, name)).collect();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{prefix}{name}")).collect();
        return Err(fault(no_place(&names)));
    }
    Ok((Weights::new(&path, used), all.len()))
}

fn check(located: &Located, asked: &[usize]) -> Result<(), String> {
    let Located { name, entry, .. } = located;
    if entry.shape != asked {
        return Err(format!("tensor {name} has shape {:?}, the model asks for {asked:?}", entry.shape));
    }
    if !entry.stored.is_some_and(StoredType::is_wide_float) {
        return Err(format!("tensor {name} is {}, which weights of a scorer never are", entry.type_name));
    }
    Ok(())
}

/// Whether a tensor is one that published files have and no score depends on.
fn is_unused(kind: ScorerKind, name: &str) -> bool {
    match kind {
        ScorerKind::Clip => name == "logit_scale" || name.ends_with(".embeddings.position_ids"),
        ScorerKind::Dino => false,
        ScorerKind::Csd => matches!(name, "last_layer_content" | "backbone.proj"),
    }
}
