//! Small files beside the weights: configurations and tokenizers, or the published ones inside the binary.

use std::fmt;

use super::Part;
use crate::config::{ClipConfig, Nested, SiglipConfig, T5Config};
use crate::files::missing;
use crate::{Error, ModelFiles};

/// Where a small file came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This file of the model.
    File(String),
    /// The published one inside the binary.
    Embedded,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.write_str(path),
            Self::Embedded => formatter.write_str("the published one, embedded"),
        }
    }
}

/// An encoder with a published configuration.
pub(crate) trait Published: Nested {
    /// The published configuration.
    const JSON: &'static [u8];
    /// A tensor whose shape shows whether weights fit the published configuration.
    const KEY_TENSOR: &'static str;

    /// The shape of that tensor by this configuration.
    fn key_shape(&self) -> [usize; 2];
}

impl Published for T5Config {
    const JSON: &'static [u8] = include_bytes!("../../assets/published/t5.json");
    const KEY_TENSOR: &'static str = "shared.weight";

    fn key_shape(&self) -> [usize; 2] {
        [self.vocab_size, self.d_model]
    }
}

impl Published for ClipConfig {
    const JSON: &'static [u8] = include_bytes!("../../assets/published/clip.json");
    const KEY_TENSOR: &'static str = "text_model.embeddings.token_embedding.weight";

    fn key_shape(&self) -> [usize; 2] {
        [self.vocab_size, self.hidden_size]
    }
}

impl Published for SiglipConfig {
    const JSON: &'static [u8] = include_bytes!("../../assets/published/siglip.json");
    const KEY_TENSOR: &'static str = "vision_model.embeddings.position_embedding.weight";

    fn key_shape(&self) -> [usize; 2] {
        [self.tokens(), self.hidden_size]
    }
}

/// Folder of a path inside the model, with a trailing slash; empty for the model folder itself.
pub(crate) fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

/// The configuration beside an encoder's weights; if there is none, the published one, provided that the weights fit
/// it.
pub(crate) fn configuration<C: Published>(
    files: &ModelFiles,
    part: Part,
    path: &str,
    shape: impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<(C, Origin), Error> {
    const NAME: &str = "config.json";
    for place in places(part, path).map(|folder| format!("{folder}{NAME}")) {
        if !files.contains(&place) {
            continue;
        }
        match parse::<C>(&place, &files.read(&place)?) {
            Ok(config) => return Ok((config, Origin::File(place))),
            // A folder that holds several parts may have the configuration of another part.
            Err(error) if part.is_own_place(&place) => return Err(error),
            Err(_) => {}
        }
    }
    let published = parse::<C>("the published configuration", C::JSON)?;
    let asked = published.key_shape();
    // A missing tensor is reported when all tensors are checked.
    let Some(shape) = shape(C::KEY_TENSOR).filter(|shape| *shape != asked) else {
        return Ok((published, Origin::Embedded));
    };
    let tensor = C::KEY_TENSOR;
    let reason = format!(
        "not found, and the published one does not fit: tensor {tensor} of {path} has shape {shape:?}, it asks for {asked:?}"
    );
    Err(missing(format!("{}{NAME}", folder(path)), reason))
}

/// Folders to search for a part's small files, in order: the folder of its weights, the tokenizer folder beside it in
/// Hugging Face's layout of FLUX, and the part's own place.
pub(crate) fn places(part: Part, path: &str) -> impl Iterator<Item = String> + use<> {
    let own = folder(path).to_owned();
    let above = folder(own.trim_end_matches('/')).to_owned();
    let sibling = match part {
        Part::T5 => Some(format!("{above}tokenizer_2/")),
        Part::Clip => Some(format!("{above}tokenizer/")),
        _ => None,
    };
    [Some(own), sibling, Some(part.place().to_owned())].into_iter().flatten()
}

fn parse<C: Nested>(path: &str, bytes: &[u8]) -> Result<C, Error> {
    let config = C::from_json(bytes).map_err(|error| missing(path, error.to_string()))?;
    config.check().map_err(|reason| missing(path, reason))?;
    Ok(config)
}

/// Small files of a part that pictures depend on.
pub(crate) const fn names(part: Part) -> &'static [&'static str] {
    match part {
        Part::T5 => &["tokenizer.json"],
        Part::Clip => &["tokenizer.json", "merges.txt", "vocab.json"],
        Part::Siglip => &["preprocessor_config.json"],
        _ => &[],
    }
}
