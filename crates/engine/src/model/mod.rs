//! Finds the parts of a model in a folder. A part is recognised by the names of its tensors, whatever its file is
//! called and wherever it is.
//!
//! If several files hold a part, the file in this project's own place wins. Else the choice goes, in this order, by:
//! passes the checks, holds nothing else, most bits per number (16 are enough), safetensors before GGUF before pickle,
//! shorter path, first by name.

mod adapter;
mod catalogue;
mod checkpoint;
pub(crate) mod expected;
mod inspect;
pub(crate) mod lora;
mod lora_folder;
mod manifest;
mod names;
mod part;
mod recognise;
pub(crate) mod small;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use self::adapter::Adapter;
use self::catalogue::Catalogue;
pub(crate) use self::checkpoint::Checkpoint;
pub use self::checkpoint::TensorCounts;
pub(crate) use self::checkpoint::no_place;
use self::expected::Expected;
pub use self::inspect::{Inspection, PartInspection};
pub use self::lora_folder::LoraFile;
pub(crate) use self::lora_folder::LoraFolder;
pub use self::manifest::Manifest;
pub use self::part::Part;
pub use self::small::Origin;
use self::small::{Published, configuration};
use crate::config::{ClipConfig, FluxConfig, ModelConfig, SiglipConfig, T5Config};
use crate::files::{inside, missing};
use crate::weights::{WeightFile, Weights};
use crate::{Error, ModelFiles};

/// Metadata key in a packed file: the digest of the LoRA that is merged into its transformer.
pub(crate) const PACKED_LORA: &str = "uso.lora";
/// Metadata key in a packed file: the digest of all its numbers.
pub(crate) const PACKED_DIGEST: &str = "uso.digest";

/// A model folder whose weight files have been checked by their headers.
pub struct Model {
    files: ModelFiles,
    config: ModelConfig,
    parts: BTreeMap<Part, Found>,
    unreadable: BTreeMap<String, String>,
    /// Weight files that were not chosen for any part, such as LoRAs.
    others: Vec<String>,
}

/// The file that was chosen for a part.
struct Found {
    candidate: Candidate,
    /// None if its tensors did not pass the checks.
    fit: Option<Fit>,
    /// Other files that hold the part.
    passed_over: Vec<String>,
}

/// A file or a set of shards that holds a part.
enum Candidate {
    Tensors(Checkpoint),
    Lora(Adapter),
}

/// What is known about a part that passed the checks.
struct Fit {
    counts: TensorCounts,
    sizes: Sizes,
    /// Its tensors that are used.
    weights: Weights,
}

/// Sizes that do not come from the model's own configuration.
enum Sizes {
    Model,
    Flux(FluxConfig),
    T5(T5Config, Origin),
    Clip(ClipConfig, Origin),
    Siglip(SiglipConfig, Origin),
}

impl Model {
    /// Opens a model folder. Reads headers and small files, not weights.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if the folder or its own `config.json` cannot be read. A missing or faulty part is an error
    /// only when it is asked for.
    pub fn open(files: &ModelFiles) -> Result<Self, Error> {
        let config = ModelConfig::read(files)?;
        let Catalogue { groups, unreadable } = Catalogue::open(files, files.list()?);
        let mut model =
            Self { files: files.clone(), config, parts: BTreeMap::new(), unreadable, others: Vec::new() };
        let mut candidates: BTreeMap<Part, Vec<Candidate>> = BTreeMap::new();
        for group in &groups {
            let held = held(&model.config.flux, group);
            if held.is_empty() {
                model.others.extend(group.iter().map(|file| file.path.clone()));
            }
            for (part, candidate) in held {
                candidates.entry(part).or_default().push(candidate);
            }
        }
        for (part, candidates) in candidates {
            let found = model.choose(part, candidates);
            model.parts.extend(found.map(|found| (part, found)));
        }
        Ok(model)
    }

    /// The folder, or the model inside the binary.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// Sizes and defaults of the model. Whether the transformer takes guidance comes from its file.
    pub fn config(&self) -> ModelConfig {
        let found = self.parts.get(&Part::Transformer).and_then(|found| found.fit.as_ref());
        let flux = match found.map(|fit| &fit.sizes) {
            Some(Sizes::Flux(flux)) => flux.clone(),
            _ => self.config.flux.clone(),
        };
        ModelConfig { flux, ..self.config.clone() }
    }

    /// Checks that every part is there and correct; logs what is found.
    ///
    /// # Errors
    /// The first fault: [`Error::ModelFile`] for a part that is missing, [`Error::Weights`] for a tensor.
    pub fn check(&self) -> Result<(), Error> {
        for part in self.needed() {
            let counts = &self.fit(part)?.counts;
            let found = &self.parts[&part];
            tracing::info!(
                %part,
                file = found.candidate.path(),
                used = counts.used,
                unused = counts.unused,
                passed_over = ?found.passed_over,
                "found the {part}"
            );
            if !counts.added.is_empty() {
                tracing::warn!(%part, names = ?counts.added, "ignored unknown tensors");
            }
        }
        self.check_encoders()
    }

    /// Checks that the encoders give what the parts behind them take.
    ///
    /// # Errors
    /// [`Error::ModelFile`] names the sizes that contradict each other; or an encoder is missing or faulty.
    pub(crate) fn check_encoders(&self) -> Result<(), Error> {
        let checked = self.config.check_encoders(self.t5()?, self.clip()?, self.siglip()?);
        checked.map_err(|reason| missing("config.json", reason))
    }

    /// The parts that pictures need. A packed transformer contains USO's LoRA already.
    pub fn needed(&self) -> impl Iterator<Item = Part> + use<> {
        let merged = self.packed(PACKED_LORA).is_some();
        Part::ALL.into_iter().filter(move |part| *part != Part::Lora || !merged)
    }

    /// A metadata value of the transformer's file, if it is a packed one.
    pub(crate) fn packed(&self, key: &str) -> Option<&str> {
        let file = self.parts.get(&Part::Transformer)?.candidate.files().first()?;
        file.header.metadata.get(key).map(String::as_str)
    }

    /// Whether a part is in the packed file, whose digest covers it.
    pub(crate) fn is_packed(&self, part: Part) -> bool {
        let file = |part: &Part| self.parts.get(part)?.candidate.files().first();
        let same = |(one, packed): (&Arc<WeightFile>, &Arc<WeightFile>)| Arc::ptr_eq(one, packed);
        self.packed(PACKED_DIGEST).is_some() && file(&part).zip(file(&Part::Transformer)).is_some_and(same)
    }

    /// Reads all numbers of the packed file, if there is one, and compares them with its digest.
    ///
    /// # Errors
    /// [`Error::Weights`] names the file if the digest differs.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        let Some(stated) = self.packed(PACKED_DIGEST) else { return Ok(()) };
        let Some(file) = self.parts[&Part::Transformer].candidate.files().first() else { return Ok(()) };
        let found = file.digest().map_err(|error| missing(&file.path, error.to_string()))?;
        if found == stated {
            return Ok(());
        }
        let reason = format!("its numbers have the digest {found}, its header states {stated}");
        Err(Error::Weights { file: file.path.clone().into(), reason })
    }

    /// Tensors of a part.
    ///
    /// # Errors
    /// If the part is missing or faulty.
    pub fn weights(&self, part: Part) -> Result<Weights, Error> {
        Ok(self.fit(part)?.weights.clone())
    }

    /// The folder inside the model, without a trailing slash, that has small files of a part. It is empty for the model
    /// folder itself.
    pub(crate) fn folder_of_small(&self, part: Part) -> Option<String> {
        let path = self.parts.get(&part)?.candidate.path();
        let has = |folder: &String| {
            small::names(part).iter().any(|name| self.files.contains(&format!("{folder}{name}")))
        };
        // A tokenizer in the model folder itself may be the one of either text encoder.
        let is_clear = |folder: &String| !folder.is_empty() || !matches!(part, Part::T5 | Part::Clip);
        let folder = small::places(part, path).filter(is_clear).find(has)?;
        Some(folder.trim_end_matches('/').to_owned())
    }

    /// All small files that pictures depend on, besides the configurations.
    pub(crate) fn small_files(&self) -> Vec<String> {
        let folders = Part::ALL.into_iter().filter_map(|part| Some((part, self.folder_of_small(part)?)));
        let paths = folders
            .flat_map(|(part, folder)| small::names(part).iter().map(move |name| inside(&folder, name)));
        paths.filter(|path| self.files.contains(path)).collect()
    }

    /// Small files, each with its place in this project's layout.
    pub(crate) fn small_files_and_places(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        if self.files.contains("config.json") {
            files.push(("config.json".to_owned(), "config.json".to_owned()));
        }
        for part in Part::ALL.into_iter().filter(|part| part.is_encoder()) {
            let place = part.place();
            if let Some(Origin::File(path)) = self.origin(part) {
                files.push((path.clone(), format!("{place}config.json")));
            }
            if let Some(folder) = self.folder_of_small(part) {
                let names =
                    small::names(part).iter().map(|name| (inside(&folder, name), format!("{place}{name}")));
                files.extend(names.filter(|(path, _)| self.files.contains(path)));
            }
        }
        files
    }

    /// USO's LoRA.
    ///
    /// # Errors
    /// If it is missing or faulty.
    pub(crate) fn lora(&self) -> Result<&Adapter, Error> {
        self.fit(Part::Lora)?;
        match &self.parts[&Part::Lora].candidate {
            Candidate::Lora(adapter) => Ok(adapter),
            Candidate::Tensors(_) => Err(self.missing_part(Part::Lora)),
        }
    }

    /// Where an encoder's configuration comes from, if it is known.
    pub(crate) fn origin(&self, part: Part) -> Option<&Origin> {
        match &self.fit(part).ok()?.sizes {
            Sizes::T5(_, origin) | Sizes::Clip(_, origin) | Sizes::Siglip(_, origin) => Some(origin),
            Sizes::Model | Sizes::Flux(_) => None,
        }
    }

    /// Sizes of the T5 encoder.
    ///
    /// # Errors
    /// If the encoder is missing or faulty.
    pub fn t5(&self) -> Result<&T5Config, Error> {
        match &self.fit(Part::T5)?.sizes {
            Sizes::T5(config, _) => Ok(config),
            _ => Err(self.missing_part(Part::T5)),
        }
    }

    /// Sizes of the text half of CLIP.
    ///
    /// # Errors
    /// If the encoder is missing or faulty.
    pub fn clip(&self) -> Result<&ClipConfig, Error> {
        match &self.fit(Part::Clip)?.sizes {
            Sizes::Clip(config, _) => Ok(config),
            _ => Err(self.missing_part(Part::Clip)),
        }
    }

    /// Sizes of the SigLIP vision encoder.
    ///
    /// # Errors
    /// If the encoder is missing or faulty.
    pub fn siglip(&self) -> Result<&SiglipConfig, Error> {
        match &self.fit(Part::Siglip)?.sizes {
            Sizes::Siglip(config, _) => Ok(config),
            _ => Err(self.missing_part(Part::Siglip)),
        }
    }

    fn fit(&self, part: Part) -> Result<&Fit, Error> {
        let Some(found) = self.parts.get(&part) else { return Err(self.missing_part(part)) };
        match &found.fit {
            Some(fit) => Ok(fit),
            None => {
                Err(self.check_candidate(&found.candidate).err().unwrap_or_else(|| self.missing_part(part)))
            }
        }
    }

    fn choose(&self, part: Part, candidates: Vec<Candidate>) -> Option<Found> {
        let looked_at = candidates.into_iter().map(|candidate| {
            let fit = self.check_candidate(&candidate).ok();
            (candidate.rank(part, fit.is_some()), candidate, fit)
        });
        let mut looked_at: Vec<_> = looked_at.collect();
        looked_at.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut looked_at = looked_at.into_iter();
        let (_, candidate, fit) = looked_at.next()?;
        let passed_over = looked_at.map(|(_, candidate, _)| candidate.path().to_owned()).collect();
        Some(Found { candidate, fit, passed_over })
    }

    fn check_candidate(&self, candidate: &Candidate) -> Result<Fit, Error> {
        match candidate {
            Candidate::Tensors(checkpoint) => fit(&self.files, &self.config, checkpoint),
            Candidate::Lora(adapter) => {
                let counts = adapter.check_uso(&self.config.flux)?;
                Ok(Fit { counts, sizes: Sizes::Model, weights: adapter.weights() })
            }
        }
    }

    /// The error for a missing part, with a possible reason.
    fn missing_part(&self, part: Part) -> Error {
        let mut unreadable = self.unreadable.iter();
        if let Some((path, reason)) = unreadable.find(|(path, _)| part.is_own_place(path)) {
            return missing(path, reason);
        }
        let mut reason = format!("not found, and no other file here has the keys of the {part}");
        if let Some((path, fault)) = self.unreadable.iter().next() {
            reason = format!("{reason}; {path} could not be read: {fault}");
        }
        missing(part.place(), reason)
    }
}

impl Candidate {
    fn path(&self) -> &str {
        match self {
            Self::Tensors(checkpoint) => checkpoint.path(),
            Self::Lora(adapter) => &adapter.file.path,
        }
    }

    fn files(&self) -> &[Arc<WeightFile>] {
        match self {
            Self::Tensors(checkpoint) => &checkpoint.files,
            Self::Lora(adapter) => std::slice::from_ref(&adapter.file),
        }
    }

    /// Rank of a file among those that hold the same part; the smallest wins.
    fn rank(&self, part: Part, is_fit: bool) -> impl Ord + use<> {
        const ENOUGH_BITS: u64 = 16;
        let (shared, bits) = match self {
            Self::Tensors(checkpoint) => (checkpoint.shared, checkpoint.bits()),
            Self::Lora(_) => (false, ENOUGH_BITS),
        };
        let container = self.files().first().map(|file| file.header.container);
        let path = self.path().to_owned();
        (
            !part.is_own_place(&path),
            !is_fit,
            shared,
            Reverse(bits.min(ENOUGH_BITS)),
            container,
            path.len(),
            path,
        )
    }
}

/// All parts that a group of files holds.
fn held(flux: &FluxConfig, group: &[Arc<WeightFile>]) -> Vec<(Part, Candidate)> {
    if let [file] = group
        && let Some(adapter) = Adapter::read(file, flux)
    {
        let is_wanted = adapter.is_uso(flux) || Part::Lora.is_own_place(&file.path);
        return if is_wanted { vec![(Part::Lora, Candidate::Lora(adapter))] } else { Vec::new() };
    }
    let tensors = group.iter().flat_map(|file| file.header.tensors.clone()).collect();
    let held = recognise::parts(&tensors);
    held.iter()
        .map(|one| {
            let others: Vec<&str> =
                held.iter().filter(|other| *other != one).map(|other| other.prefix).collect();
            (one.part, Candidate::Tensors(Checkpoint::new(*one, group, &others)))
        })
        .collect()
}

fn fit(files: &ModelFiles, config: &ModelConfig, checkpoint: &Checkpoint) -> Result<Fit, Error> {
    let fit = |expected: Vec<Expected>, sizes| {
        let counts = checkpoint.check(&expected)?;
        Ok(Fit { counts, sizes, weights: checkpoint.weights(&expected) })
    };
    match checkpoint.part {
        Part::Transformer => {
            // FLUX.1-schnell is distilled to work without guidance, and has no tensors for it.
            let guidance_embed = checkpoint.tensors.keys().any(|name| name.starts_with("guidance_in."));
            let flux = FluxConfig { guidance_embed, ..config.flux.clone() };
            fit(expected::transformer(&flux), Sizes::Flux(flux))
        }
        Part::Autoencoder => fit(expected::autoencoder(&config.ae), Sizes::Model),
        Part::Projector => fit(expected::projector(&config.projector), Sizes::Model),
        Part::T5 => {
            let (config, origin) = sizes::<T5Config>(files, checkpoint)?;
            fit(expected::t5(&config), Sizes::T5(config, origin))
        }
        Part::Clip => {
            let (config, origin) = sizes::<ClipConfig>(files, checkpoint)?;
            fit(expected::clip(&config), Sizes::Clip(config, origin))
        }
        Part::Siglip => {
            let (config, origin) = sizes::<SiglipConfig>(files, checkpoint)?;
            fit(expected::siglip(&config), Sizes::Siglip(config, origin))
        }
        Part::Lora => Err(missing(checkpoint.path(), "holds no LoRA")),
    }
}

fn sizes<C: Published>(files: &ModelFiles, checkpoint: &Checkpoint) -> Result<(C, Origin), Error> {
    let shape = |name: &str| checkpoint.tensors.get(name).map(|located| located.entry.shape.clone());
    configuration(files, checkpoint.part, checkpoint.path(), shape)
}
