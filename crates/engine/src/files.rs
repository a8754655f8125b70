//! Where a model's files come from: a folder on disk, or the binary itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::scorers::FOLDER;
use crate::weights::Source;

macro_rules! bundled {
    ($path:literal) => {
        ($path, include_bytes!(concat!("../assets/mini/", $path)) as &[u8])
    };
}

/// The model folder inside the binary, as (path, bytes).
///
/// This list is the only place that chooses the default model.
static BUNDLED: &[(&str, &[u8])] = &[
    bundled!("config.json"),
    bundled!("FLUX.1-dev/flux1-dev.safetensors"),
    bundled!("FLUX.1-dev/ae.safetensors"),
    bundled!("USO/uso_flux_v1.0/dit_lora.safetensors"),
    bundled!("USO/uso_flux_v1.0/projector.safetensors"),
    bundled!("t5-xxl/config.json"),
    bundled!("t5-xxl/model.safetensors"),
    bundled!("t5-xxl/tokenizer.json"),
    bundled!("clip-vit-l14/config.json"),
    bundled!("clip-vit-l14/model.safetensors"),
    bundled!("clip-vit-l14/tokenizer.json"),
    bundled!("siglip/config.json"),
    bundled!("siglip/model.safetensors"),
    bundled!("siglip/preprocessor_config.json"),
    bundled!("self_test/request.json"),
    bundled!("self_test/content_heart.png"),
    bundled!("self_test/style_sketch.png"),
    bundled!("self_test/picture.png"),
];

/// The files of one model, by their paths in the model folder.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// A folder on disk.
    Folder(PathBuf),
    /// The default model inside the binary.
    Bundled,
}

impl ModelFiles {
    /// The folder if one is given, else the bundled model.
    pub fn new(folder: Option<&Path>) -> Self {
        folder.map_or(Self::Bundled, |folder| Self::Folder(folder.to_owned()))
    }

    /// A short name for logs and receipts: the folder's own name, or `mini`.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(folder) => folder
                .canonicalize()
                .unwrap_or_else(|_| folder.clone())
                .file_name()
                .map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned()),
            Self::Bundled => "mini".into(),
        }
    }

    /// Whether the file is there.
    pub fn contains(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(path).is_file(),
            Self::Bundled => bundled_file(path).is_some(),
        }
    }

    /// The complete content of a small file.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if it is missing or unreadable.
    pub fn read(&self, path: &str) -> Result<Cow<'static, [u8]>, Error> {
        match self {
            Self::Folder(folder) => std::fs::read(folder.join(path))
                .map(Cow::Owned)
                .map_err(|error| missing(path, error.to_string())),
            Self::Bundled => bundled_file(path)
                .map(Cow::Borrowed)
                .ok_or_else(|| missing(path, "not part of the bundled model")),
        }
    }

    /// All files that pictures may depend on.
    pub(crate) fn list(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        match self {
            Self::Bundled => listing.paths.extend(BUNDLED.iter().map(|(path, _)| (*path).to_owned())),
            Self::Folder(folder) => {
                walk(folder, "", DEPTH, &mut listing).map_err(|error| missing(folder, error.to_string()))?;
            }
        }
        // Neither the record of the self-test nor the scorers influence pictures, and the scorers' CLIP is not the model's.
        listing.paths.retain(|path| !path.starts_with("self_test/") && !path.starts_with(FOLDER));
        listing.paths.sort();
        Ok(listing)
    }

    /// A file, to be read in parts.
    pub(crate) fn source(&self, path: &str) -> io::Result<Source> {
        match self {
            Self::Folder(folder) => Source::open(&folder.join(path)),
            Self::Bundled => bundled_file(path).map(Source::Bundled).ok_or(io::ErrorKind::NotFound.into()),
        }
    }

    /// A JSON file as a value of `T`.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if it is missing or does not parse.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.read(path)?).map_err(|error| missing(path, error.to_string()))
    }
}

/// Most nested folders: no published layout has as many, and links may form a cycle.
const DEPTH: usize = 8;

/// What is in a model folder.
#[derive(Default)]
pub(crate) struct Listing {
    /// Paths of files, in order. Whoever needs a file finds out whether it can be read.
    pub(crate) paths: Vec<String>,
    /// Folders that cannot be read, with the reason. Most of them have nothing to do with the model.
    pub(crate) unreadable: BTreeMap<String, String>,
}

/// Collects files that may be part of a model. A model folder may be a git checkout, a cache whose files are links, or
/// a disk with folders of the operating system.
fn walk(folder: &Path, above: &str, depth: usize, listing: &mut Listing) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{above}{name}");
        if name.starts_with('.') {
            continue;
        }
        let kind = std::fs::metadata(entry.path());
        match &kind {
            Ok(kind) if kind.is_dir() && depth > 1 => {
                if let Err(error) = walk(&entry.path(), &format!("{path}/"), depth - 1, listing) {
                    listing.unreadable.insert(path, error.to_string());
                }
            }
            // A broken link is a file that cannot be read; opening a pipe would block for ever.
            Ok(kind) if !kind.is_file() => {}
            _ if ENDINGS.iter().any(|end| name.ends_with(end)) => listing.paths.push(path),
            _ => {}
        }
    }
    Ok(())
}

const ENDINGS: [&str; 8] = [".safetensors", ".sft", ".gguf", ".bin", ".pt", ".pth", ".json", "merges.txt"];

/// Path of a file in a folder of the model. An empty one is the model folder itself.
pub(crate) fn inside(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

pub(crate) fn missing(path: impl Into<PathBuf>, reason: impl Into<String>) -> Error {
    Error::ModelFile { file: path.into(), reason: reason.into() }
}

fn bundled_file(path: &str) -> Option<&'static [u8]> {
    BUNDLED.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
}
