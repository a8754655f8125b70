//! The tensors of one part in the files that hold it, under the part's own names, and checks of their types and shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Part;
use super::expected::Expected;
use super::names::{gguf_name, own_name};
use super::recognise::Held;
use crate::Error;
use crate::error::message;
use crate::weights::{Container, Entry, Located, StoredType, WeightFile, Weights};

/// One part in one or several files.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub(crate) part: Part,
    pub(crate) files: Vec<Arc<WeightFile>>,
    /// Whether a file also holds other parts.
    pub(crate) shared: bool,
    /// Tensors under the part's own names, without those that belong to the scales of others.
    pub(crate) tensors: BTreeMap<String, Located>,
    /// Tensors that belong to the scales of others, under their names without the prefix.
    companions: BTreeMap<String, Located>,
}

/// Counts of a part's tensors after the check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorCounts {
    /// Tensors that are used, scales included.
    pub used: usize,
    /// Known tensors that USO does not use: towers, decoders, heads and buffers.
    pub unused: usize,
    /// Names of unknown tensors.
    pub added: Vec<String>,
}

/// Endings of the factor of a matrix in eight bits.
const SCALES: [&str; 2] = [".scale_weight", ".weight_scale"];
/// Endings of other tensors of such a matrix: factors for activations, which are not quantised here, and a description.
const BESIDE: [&str; 3] = [".scale_input", ".input_scale", DESCRIPTION];
const DESCRIPTION: &str = ".comfy_quant";
/// An empty tensor that marks a file with scales, and the tokenizer that some writers add as a tensor.
const MARKERS: [&str; 2] = ["scaled_fp8", "spiece_model"];

/// Prefixes of the other parts in an all-in-one file.
const ROOTS: [&str; 4] = ["text_encoders.", "vae.", "first_stage_model.", "model_ema."];

impl Checkpoint {
    /// The tensors of `held` in these files; `others` are the prefixes of other parts in them.
    pub(super) fn new(held: Held, files: &[Arc<WeightFile>], others: &[&str]) -> Self {
        let Held { part, prefix } = held;
        let (mut tensors, mut companions) = (BTreeMap::new(), BTreeMap::new());
        for file in files {
            for (name, entry) in &file.header.tensors {
                let mut roots = others.iter().chain(&ROOTS).filter(|root| root.len() > prefix.len());
                let foreign = roots.any(|root| !prefix.starts_with(root) && name.starts_with(root));
                let Some(bare) = name.strip_prefix(prefix).filter(|_| !foreign) else { continue };
                let located =
                    Located { file: Arc::clone(file), name: name.clone(), entry: entry.clone(), scale: None };
                let is_companion = SCALES.iter().chain(&BESIDE).any(|ending| bare.ends_with(ending));
                if is_companion || MARKERS.contains(&bare) {
                    companions.insert(bare.to_owned(), located);
                } else {
                    tensors.insert(own_name(part, bare, file.header.container), located);
                }
            }
        }
        let mut checkpoint =
            Self { part, files: files.to_vec(), shared: !others.is_empty(), tensors, companions };
        checkpoint.give_scales();
        checkpoint.tie_embedding();
        checkpoint
    }

    /// The path of its first file.
    pub(crate) fn path(&self) -> &str {
        self.files.first().map_or("", |file| file.path.as_str())
    }

    /// The tensors that the part needs, for reading.
    pub(crate) fn weights(&self, expected: &[Expected]) -> Weights {
        let used =
            expected.iter().filter_map(|(name, _)| Some((name.clone(), self.tensors.get(name)?.clone())));
        Weights::new(self.path(), used.collect())
    }

    /// The container of its files.
    pub(crate) fn container(&self) -> Option<Container> {
        self.files.first().map(|file| file.header.container)
    }

    /// Average number of bits per number.
    pub(super) fn bits(&self) -> u64 {
        average_bits(self.tensors.values().map(|located| &located.entry))
    }

    fn give_scales(&mut self) {
        for (name, located) in &mut self.tensors {
            let Some(stem) = name.strip_suffix(".weight") else { continue };
            let scale = SCALES.iter().find_map(|ending| self.companions.get(&format!("{stem}{ending}")));
            located.scale = scale.cloned().map(Box::new);
        }
    }

    /// T5 files have the token embedding under one of two names, or under both.
    fn tie_embedding(&mut self) {
        const NAMES: [&str; 2] = ["shared.weight", "encoder.embed_tokens.weight"];
        if self.part == Part::T5
            && !self.tensors.contains_key(NAMES[0])
            && let Some(embedding) = self.tensors.remove(NAMES[1])
        {
            self.tensors.insert(NAMES[0].into(), embedding);
        }
    }

    /// Checks that all tensors that are needed are there with the right type and shape; counts the others.
    ///
    /// # Errors
    /// [`Error::Weights`] naming file and tensor of the first fault.
    pub(crate) fn check(&self, expected: &[Expected]) -> Result<TensorCounts, Error> {
        self.check_bytes()?;
        let mut used = 0;
        for (name, shape) in expected {
            let Some(located) = self.tensors.get(name) else {
                return Err(self.fault(self.path(), format!("tensor {} is missing", self.name_in_file(name))));
            };
            self.check_tensor(located, shape)?;
            used += 1 + usize::from(located.scale.is_some());
        }
        self.check_scales(expected)?;
        self.counts(expected, used)
    }

    /// Checks that every byte that a header promises is there, used or not: a truncated file was not copied completely.
    fn check_bytes(&self) -> Result<(), Error> {
        let fault = self.files.iter().find_map(|file| Some((file, file.fault()?)));
        fault.map_or(Ok(()), |(file, reason)| Err(self.fault(&file.path, reason)))
    }

    fn check_tensor(&self, located: &Located, shape: &[usize]) -> Result<(), Error> {
        let Located { file, name, entry, scale } = located;
        if entry.shape != shape {
            let reason =
                format!("tensor {name} has shape {:?}, the configuration asks for {shape:?}", entry.shape);
            return Err(self.fault(&file.path, reason));
        }
        if !self.may_be(entry, file.header.container) {
            let reason =
                format!("tensor {name} is {}, which weights of the {} never are", entry.type_name, self.part);
            return Err(self.fault(&file.path, reason));
        }
        let Some(scale) = scale else { return Ok(()) };
        if !entry.stored.is_some_and(StoredType::is_fp8) {
            let reason =
                format!("tensor {} scales {name}, which is {} and needs none", scale.name, entry.type_name);
            return Err(self.fault(&file.path, reason));
        }
        let rows = shape.first().copied().unwrap_or(1);
        let fits = matches!(scale.entry.shape.as_slice(), [] | [1])
            || scale.entry.shape == [rows]
            || scale.entry.shape == [rows, 1];
        let reason = if !fits {
            format!(
                "tensor {} has shape {:?}, a single number or [{rows}] was expected",
                scale.name, scale.entry.shape
            )
        } else if !scale.entry.stored.is_some_and(StoredType::is_wide_float) {
            format!("tensor {} is {}, which scales never are", scale.name, scale.entry.type_name)
        } else {
            return Ok(());
        };
        Err(self.fault(&scale.file.path, reason))
    }

    /// Whether published files have such tensors: 16-bit and 32-bit floats anywhere, eight bits in transformer and text
    /// encoders, ggml's blocks in matrices of GGUF files.
    fn may_be(&self, entry: &Entry, container: Container) -> bool {
        let Some(stored) = entry.stored else { return false };
        let is_quantisable = matches!(self.part, Part::Transformer | Part::T5 | Part::Clip);
        match stored {
            StoredType::F32 | StoredType::F16 | StoredType::BF16 => true,
            StoredType::F8E4M3 | StoredType::F8E5M2 => is_quantisable && container == Container::Safetensors,
            other => other.quantised().is_some() && container == Container::Gguf && entry.shape.len() == 2,
        }
    }

    /// Checks that in a file with scales every eight-bit matrix of a linear layer has one: without it the numbers would
    /// be noise. Also refuses descriptions of unsupported formats.
    fn check_scales(&self, expected: &[Expected]) -> Result<(), Error> {
        for (name, located) in self.companions.iter().filter(|(name, _)| name.ends_with(DESCRIPTION)) {
            let bytes = located.bytes().map_err(|error| {
                self.fault(&located.file.path, format!("tensor {name}: {}", message(&error)))
            })?;
            check_description(&String::from_utf8_lossy(&bytes)).map_err(|reason| {
                self.fault(&located.file.path, format!("tensor {}: {reason}", located.name))
            })?;
        }
        for file in &self.files {
            if let Some(text) = file.header.metadata.get("_quantization_metadata") {
                check_description(text).map_err(|reason| self.fault(&file.path, reason))?;
            }
        }
        if self.companions.keys().all(|name| !SCALES.iter().any(|ending| name.ends_with(ending))) {
            return Ok(());
        }
        let bare = expected.iter().filter(|(name, shape)| shape.len() == 2 && is_linear(name)).find_map(
            |(name, _)| {
                let located = self.tensors.get(name)?;
                (located.scale.is_none() && located.entry.stored?.is_fp8()).then_some(located)
            },
        );
        match bare {
            Some(Located { file, name, entry, .. }) => {
                let stem = name.strip_suffix(".weight").unwrap_or(name);
                let ending =
                    SCALES.iter().find(|ending| self.companions.keys().any(|name| name.ends_with(**ending)));
                let reason = format!(
                    "tensor {stem}{} is missing: {name} is {}, and the file's other matrices have a scale",
                    ending.unwrap_or(&SCALES[0]),
                    entry.type_name
                );
                Err(self.fault(&file.path, reason))
            }
            None => Ok(()),
        }
    }

    fn counts(&self, expected: &[Expected], used: usize) -> Result<TensorCounts, Error> {
        let expected: std::collections::BTreeSet<&str> =
            expected.iter().map(|(name, _)| name.as_str()).collect();
        let mut counts = TensorCounts { used, ..TensorCounts::default() };
        for (name, located) in &self.tensors {
            if expected.contains(name.as_str()) {
                continue;
            }
            if is_spare(self.part, name) {
                counts.unused += 1
            } else {
                counts.added.push(located.name.clone())
            }
        }
        for (name, located) in &self.companions {
            let stem = SCALES.iter().chain(&BESIDE).find_map(|ending| name.strip_suffix(ending));
            let owner = stem.map(|stem| format!("{stem}.weight"));
            let is_known = MARKERS.contains(&name.as_str())
                || owner.as_ref().is_some_and(|owner| self.tensors.contains_key(owner));
            let is_scale = SCALES.iter().any(|ending| name.ends_with(ending));
            match (is_known, is_scale) {
                // Counted with its matrix.
                (true, true) => {}
                (true, false) => counts.unused += 1,
                (false, _) => counts.added.push(located.name.clone()),
            }
        }
        if self.part.is_encoder() || counts.added.is_empty() {
            return Ok(counts);
        }
        Err(self.fault(self.path(), no_place(&counts.added)))
    }

    /// Name of a tensor of the part in its file, even if it is missing there.
    fn name_in_file(&self, name: &str) -> String {
        let neighbour = self.tensors.iter().find(|(own, located)| located.name.ends_with(own.as_str()));
        let prefix =
            neighbour.and_then(|(own, located)| located.name.strip_suffix(own.as_str())).unwrap_or("");
        match self.container() {
            Some(Container::Gguf) if self.part == Part::T5 => gguf_name(name),
            _ => format!("{prefix}{name}"),
        }
    }

    pub(crate) fn fault(&self, file: &str, reason: String) -> Error {
        Error::Weights { file: file.into(), reason }
    }
}

/// Average number of bits per number. Nothing of a header has been checked yet, so it may state any shape and size.
fn average_bits<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    let (mut numbers, mut bytes) = (0u64, 0u64);
    for entry in entries {
        let product = entry.shape.iter().fold(1u64, |product, side| product.saturating_mul(*side as u64));
        numbers = numbers.saturating_add(product);
        bytes = bytes.saturating_add(entry.bytes);
    }
    bytes.saturating_mul(8) / numbers.max(1)
}

/// An error text about unknown tensors.
pub(crate) fn no_place(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the model has no place for tensor {shown}{more}")
}

/// Refuses formats whose numbers need more than a factor.
fn check_description(text: &str) -> Result<(), String> {
    let text = text.to_ascii_lowercase();
    for (word, what) in [
        ("convrot", "int8 with rotated activations (convrot) is not supported"),
        ("int8", "int8 is not supported"),
        ("nvfp4", "nvfp4 is not supported"),
        ("mxfp8", "mxfp8 is not supported"),
    ] {
        if text.contains(word) {
            return Err(format!("{what}: use a file in fp8, bf16 or GGUF"));
        }
    }
    Ok(())
}

/// Whether a matrix belongs to a linear layer: embeddings are looked up, not multiplied.
fn is_linear(name: &str) -> bool {
    !["shared.weight", "relative_attention_bias.weight", "embedding.weight"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Whether a tensor is one that published files have and USO does not use.
fn is_spare(part: Part, name: &str) -> bool {
    let begins = |with: &[&str]| with.iter().any(|with| name.starts_with(with));
    let is_buffer = name.ends_with(".position_ids") || name == "logit_scale" || name == "logit_bias";
    match part {
        Part::T5 => is_buffer || begins(&["decoder.", "lm_head.", "encoder.embed_tokens."]),
        Part::Clip => is_buffer || begins(&["vision_model.", "visual_projection.", "text_projection."]),
        Part::Siglip => {
            let layer = begins(&["vision_model.encoder.layers."]) && name.contains("layers.");
            is_buffer
                || layer
                || begins(&["text_model.", "vision_model.head.", "vision_model.post_layernorm."])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_header_has_an_average() {
        let entry = |shape: &[usize], bytes| Entry {
            stored: Some(StoredType::BF16),
            type_name: "BF16".into(),
            shape: shape.to_vec(),
            start: 0,
            bytes,
        };
        assert_eq!(average_bits([entry(&[3, 5], 30), entry(&[], 2)].iter()), 16);
        assert_eq!(average_bits([entry(&[1 << 40, 1 << 40], 30), entry(&[usize::MAX], 2)].iter()), 0);
        assert_eq!(average_bits([entry(&[1], 1 << 62), entry(&[0], u64::MAX)].iter()), u64::MAX);
    }

    #[test]
    fn formats_that_a_factor_does_not_undo_are_refused_by_name() {
        assert_eq!(check_description(r#"{"format": "float8_e4m3fn"}"#), Ok(()));
        let refused = |text| check_description(text).unwrap_err();
        assert!(refused(r#"{"format": "int8_tensorwise", "convrot": true}"#).contains("convrot"));
        assert!(refused(r#"{"format":"nvfp4"}"#).contains("nvfp4"));
    }
}
