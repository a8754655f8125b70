//! A report on what a model folder holds, for people and programs.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Candidate, Found, Model, Origin, Part, small};
use crate::files::inside;

/// What a model folder holds.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Name of the folder.
    pub model: String,
    /// Whether every part is there and correct.
    pub complete: bool,
    /// Whether the transformer takes guidance, as FLUX.1-dev does; FLUX.1-schnell does not.
    pub guidance: bool,
    /// Tier of a packed model; none for other models.
    pub packed: Option<String>,
    /// The parts in the order in which a picture needs them.
    pub parts: Vec<PartInspection>,
    /// Weight files that hold no part of a USO model, such as other LoRAs.
    pub other_files: Vec<String>,
    /// Files that could not be read as weights, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// What is known about a part.
#[derive(Debug, Clone, Serialize)]
pub struct PartInspection {
    /// The part's name.
    pub part: String,
    /// Its files; none if it is missing.
    pub files: Vec<String>,
    /// Kind of its files.
    pub container: Option<String>,
    /// How many of its tensors are stored in each type.
    pub types: BTreeMap<String, usize>,
    /// Bytes of its tensors.
    pub bytes: u64,
    /// Tensors that are used, scales included.
    pub used: usize,
    /// Tensors of known use elsewhere: towers, decoders, heads and buffers.
    pub unused: usize,
    /// Names of unknown tensors.
    pub added: Vec<String>,
    /// Where its configuration comes from.
    pub configuration: Option<String>,
    /// Where its tokenizer comes from.
    pub tokenizer: Option<String>,
    /// SHA-256 of its files' headers.
    pub digest: Option<String>,
    /// Files that also hold the part but were not chosen.
    pub passed_over: Vec<String>,
    /// What is missing or wrong.
    pub fault: Option<String>,
}

impl Model {
    /// Reports what the folder holds. Reads only headers and small files.
    pub fn inspect(&self) -> Inspection {
        let parts: Vec<PartInspection> = self.needed().map(|part| self.inspect_part(part)).collect();
        Inspection {
            model: self.files.name(),
            complete: parts.iter().all(|part| part.fault.is_none()),
            guidance: self.config().flux.guidance_embed,
            packed: self.packed("uso.tier").map(str::to_owned),
            parts,
            other_files: self.others.clone(),
            unreadable: self.unreadable.clone(),
        }
    }

    fn inspect_part(&self, part: Part) -> PartInspection {
        let (fit, fault) = match self.fit(part) {
            Ok(fit) => (Some(fit), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let found = self.parts.get(&part);
        let counts = fit.map(|fit| fit.counts.clone()).unwrap_or_default();
        let configuration = self.origin(part).map(ToString::to_string);
        let files = found.map(|found| found.candidate.files()).unwrap_or_default();
        PartInspection {
            part: part.to_string(),
            files: files.iter().map(|file| file.path.clone()).collect(),
            container: files.first().map(|file| file.header.container.to_string()),
            types: found.map(types).unwrap_or_default(),
            bytes: found.map(bytes).unwrap_or_default(),
            used: counts.used,
            unused: counts.unused,
            added: counts.added,
            configuration,
            tokenizer: self.tokenizer(part),
            digest: found.map(digest),
            passed_over: found.map(|found| found.passed_over.clone()).unwrap_or_default(),
            fault,
        }
    }
}

impl Model {
    /// Where a text encoder's tokenizer comes from.
    fn tokenizer(&self, part: Part) -> Option<String> {
        if !matches!(part, Part::T5 | Part::Clip) || !self.parts.contains_key(&part) {
            return None;
        }
        let Some(folder) = self.folder_of_small(part) else { return Some(Origin::Embedded.to_string()) };
        let names = small::names(part).iter().map(|name| inside(&folder, name));
        let mut found = names.filter(|path| self.files.contains(path));
        found.next()
    }
}

/// The tensors of the part, without those of other parts in the same files.
fn entries(found: &Found) -> Vec<&crate::weights::Entry> {
    match &found.candidate {
        Candidate::Tensors(checkpoint) => checkpoint.tensors.values().map(|located| &located.entry).collect(),
        Candidate::Lora(adapter) => adapter.file.header.tensors.values().collect(),
    }
}

fn types(found: &Found) -> BTreeMap<String, usize> {
    let mut types = BTreeMap::new();
    for entry in entries(found) {
        let name = entry.stored.map_or_else(|| entry.type_name.clone(), |stored| stored.to_string());
        *types.entry(name).or_default() += 1;
    }
    types
}

fn bytes(found: &Found) -> u64 {
    // A faulty header may state any number.
    entries(found).iter().fold(0, |bytes, entry| bytes.saturating_add(entry.bytes))
}

fn digest(found: &Found) -> String {
    let mut digest = Sha256::new();
    for file in found.candidate.files() {
        for (name, entry) in &file.header.tensors {
            let text =
                format!("{name} {} {:?} {} {}\n", entry.type_name, entry.shape, entry.start, entry.bytes);
            digest.update(text.as_bytes());
        }
    }
    hex::encode(digest.finalize())
}
