//! LoRAs that requests may name: the files of a folder.

use std::path::{Path, PathBuf};

use super::Adapter;
use crate::config::FluxConfig;
use crate::files::missing;
use crate::{Error, RequestLora, fingerprint};

/// A LoRA that requests may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoraFile {
    /// Its file's name without `.safetensors`.
    pub name: String,
    /// SHA-256 of its tensors' names, types, shapes and numbers, of a large tensor some in many places; in hexadecimal.
    pub digest: String,
}

/// The LoRAs of a folder. They are kept open: what is put there later changes none of them.
#[derive(Default)]
pub(crate) struct LoraFolder {
    files: Vec<LoraFile>,
    /// In the order of `files`, which is that of their names.
    adapters: Vec<Adapter>,
}

/// What the side branches of a request's LoRAs come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BranchSizes {
    /// Numbers in all of them.
    pub(crate) numbers: usize,
    /// Rows that the one changes which changes the most.
    pub(crate) rows: usize,
}

const ENDING: &str = "safetensors";
/// Files that are looked at: every one costs a line in each report of a worker.
const MOST_FILES: usize = 1000;
/// Longest name in bytes.
const MOST_NAME: usize = 64;

impl LoraFolder {
    /// Looks through the files of a folder by their headers. One that cannot be used is named in the log and left out.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if the folder cannot be read.
    pub(crate) fn open(folder: Option<&Path>, flux: &FluxConfig) -> Result<Self, Error> {
        let mut found = Self::default();
        let Some(folder) = folder else { return Ok(found) };
        let paths = paths(folder).map_err(|error| missing(folder, error.to_string()))?;
        if paths.len() > MOST_FILES {
            let (folder, all) = (folder.display(), paths.len());
            tracing::warn!("{folder} holds {all} LoRAs, those after the first {MOST_FILES} are left out");
        }
        for path in paths.iter().take(MOST_FILES) {
            match open(path, flux) {
                Ok((file, adapter)) => {
                    tracing::info!(name = file.name, digest = file.digest, "LoRA {}", file.name);
                    found.files.push(file);
                    found.adapters.push(adapter);
                }
                Err(error) => tracing::warn!(%error, "a LoRA is left out: {}", path.display()),
            }
        }
        Ok(found)
    }

    /// All of them, by name.
    pub(crate) fn files(&self) -> &[LoraFile] {
        &self.files
    }

    /// Those that a request asks for with another weight than 0, each with it.
    ///
    /// # Errors
    /// [`Error::Request`] naming one that is not here, has other numbers or is asked for twice.
    pub(crate) fn find(&self, loras: &[RequestLora]) -> Result<Vec<(&Adapter, f64)>, Error> {
        let mut found = Vec::new();
        for (i, RequestLora { name, digest, weight }) in loras.iter().enumerate() {
            let refused = |reason: &str| {
                Err(Error::Request { parameter: "loras", reason: format!("{name:?} {reason}") })
            };
            if loras[..i].iter().any(|other| other.name == *name) {
                return refused("is asked for twice");
            }
            let Some((file, adapter)) = self.get(name) else {
                return refused("is not in the folder of LoRAs");
            };
            if file.digest != *digest {
                return refused("has other numbers here");
            }
            if *weight != 0.0 {
                found.push((adapter, *weight));
            }
        }
        Ok(found)
    }

    /// What the side branches of a request will come to; nothing if it will be refused anyway.
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

/// The files that are called as LoRAs are, in the order of their names.
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
    let account = adapter.check_extra()?;
    if !account.added.is_empty() {
        tracing::warn!(name, names = ?account.added, "tensors of a LoRA that nobody knows are left alone");
    }
    Ok((LoraFile { name: name.to_owned(), digest: fingerprint::lora(&adapter)? }, adapter))
}

/// Whether requests can ask for a LoRA of that name.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MOST_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits)
}
