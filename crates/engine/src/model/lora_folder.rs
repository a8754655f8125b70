//! The LoRAs that requests may ask for: the files of a folder.

use std::path::{Path, PathBuf};

use super::Adapter;
use crate::config::FluxConfig;
use crate::files::missing;
use crate::{Error, RequestLora, fingerprint};

/// A LoRA that requests may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoraFile {
    /// Its file's name without `.safetensors`.
    pub name: String,
    /// SHA-256 in hexadecimal of its tensors' names, types, shapes and numbers; of a large tensor, numbers at many
    /// places.
    pub digest: String,
}

/// The LoRAs of a folder. The files stay open, so later changes to the folder have no effect.
#[derive(Default)]
pub(crate) struct LoraFolder {
    files: Vec<LoraFile>,
    /// In the order of `files`, which is that of their names.
    adapters: Vec<Adapter>,
}

/// Total size of the side branches of a request's LoRAs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BranchSizes {
    /// Numbers in all branches.
    pub(crate) numbers: usize,
    /// Rows that the largest branch changes.
    pub(crate) rows: usize,
}

const ENDING: &str = "safetensors";
/// Most files to use: each one takes a line in every report of a worker.
const MOST_FILES: usize = 1000;
/// Longest name in bytes.
const MOST_NAME: usize = 64;

impl LoraFolder {
    /// Opens the files of a folder and reads their headers. A file that cannot be used is logged and skipped.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if the folder cannot be read.
    pub(crate) fn open(folder: Option<&Path>, flux: &FluxConfig) -> Result<Self, Error> {
        let mut found = Self::default();
        let Some(folder) = folder else { return Ok(found) };
        let paths = paths(folder).map_err(|error| missing(folder, error.to_string()))?;
        if paths.len() > MOST_FILES {
            let (folder, all) = (folder.display(), paths.len());
            tracing::warn!("{folder} holds {all} LoRAs, only the first {MOST_FILES} are used");
        }
        for path in paths.iter().take(MOST_FILES) {
            match open(path, flux) {
                Ok((file, adapter)) => {
                    tracing::info!(name = file.name, digest = file.digest, "LoRA {}", file.name);
                    found.files.push(file);
                    found.adapters.push(adapter);
                }
                Err(error) => tracing::warn!(%error, "skipped a LoRA: {}", path.display()),
            }
        }
        Ok(found)
    }

    /// All LoRAs, in the order of their names.
    pub(crate) fn files(&self) -> &[LoraFile] {
        &self.files
    }

    /// The LoRAs that a request asks for, each with its weight. Those with weight 0 are left out.
    ///
    /// # Errors
    /// [`Error::Request`] names a LoRA that is missing, has another digest or is asked for twice.
    pub(crate) fn find(&self, loras: &[RequestLora]) -> Result<Vec<(&Adapter, f64)>, Error> {
        let mut found = Vec::new();
        for (i, RequestLora { name, digest, weight }) in loras.iter().enumerate() {
            let refused = |reason: &str| {
                Err(Error::Request { parameter: "loras", reason: format!("{name:?} {reason}") })
            };
            if loras[..i].iter().any(|other| other.name == *name) {
                return refused("is given twice");
            }
            let Some((file, adapter)) = self.get(name) else {
                return refused("is not in the folder of LoRAs");
            };
            if file.digest != *digest {
                return refused("has another digest here");
            }
            if *weight != 0.0 {
                found.push((adapter, *weight));
            }
        }
        Ok(found)
    }

    /// Sizes of the side branches of a request; zero if the request will be refused anyway.
    pub(crate) fn sizes(&self, loras: &[RequestLora]) -> BranchSizes {
        let mut sizes = BranchSizes::default();
        for (adapter, _) in self.find(loras).unwrap_or_default() {
            let tensors = &adapter.file.header.tensors;
            for pair in adapter.pairs() {
                let numbers = |name: &str| tensors[name].shape.iter().product::<usize>();
                sizes.numbers += pair.rows.len() * numbers(&pair.down) + numbers(&pair.up);
                let rows = pair.rows.iter().map(ExactSizeIterator::len).max();
                sizes.rows = sizes.rows.max(rows.unwrap_or_default());
            }
        }
        sizes
    }

    fn get(&self, name: &str) -> Option<(&LoraFile, &Adapter)> {
        let at = self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        Some((&self.files[at], &self.adapters[at]))
    }
}

/// Paths of the files that are named like LoRAs, in the order of their names.
fn paths(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| a.file_stem().cmp(&b.file_stem()));
    Ok(paths)
}

fn open(path: &Path, flux: &FluxConfig) -> Result<(LoraFile, Adapter), Error> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| is_name(name));
    let Some(name) = name else {
        let reason = format!("a name is 1 to {MOST_NAME} letters, digits, `.`, `_` and `-`");
        return Err(missing(path, reason));
    };
    let adapter = Adapter::open(path, flux)?;
    let counts = adapter.check_extra()?;
    if !counts.added.is_empty() {
        tracing::warn!(name, names = ?counts.added, "ignored unknown tensors of a LoRA");
    }
    Ok((LoraFile { name: name.to_owned(), digest: fingerprint::lora(&adapter)? }, adapter))
}

/// Whether requests can ask for a LoRA with this name.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MOST_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits)
}
