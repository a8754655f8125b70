//! Headers of packed files, and where everything lies in them.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::contents::{Contents, Placed};
use crate::model::PACKED_DIGEST;
use crate::weights::{gguf_number, safetensors_name};

/// Stands where the digest of the numbers will be: as many characters.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Where tensors begin in a GGUF file: at multiples of this, unless its metadata says another.
const ALIGNMENT: usize = 32;

/// A header, and where everything lies.
pub(super) struct Layout {
    header: Vec<u8>,
    alignment: usize,
    digest_at: u64,
    data_bytes: u64,
}

impl Layout {
    pub(super) fn new(contents: &Contents) -> Self {
        let mut metadata = contents.metadata.clone();
        metadata.insert(PACKED_DIGEST.into(), UNKNOWN.into());
        let tensors = contents.packings.iter().flat_map(|packing| &packing.tensors);
        let (header, alignment) = if contents.is_gguf() {
            (gguf(tensors.collect(), &metadata), ALIGNMENT)
        } else {
            (safetensors(tensors.collect(), &metadata), 1)
        };
        let digest_at = find(&header, UNKNOWN.as_bytes());
        let tensors = contents.packings.iter().flat_map(|packing| &packing.tensors);
        Self { header, alignment, digest_at, data_bytes: tensors.map(Placed::bytes).sum() }
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Bytes between the end of a tensor and the beginning of the next.
    pub(super) fn padding(&self, bytes: u64) -> usize {
        (bytes.next_multiple_of(self.alignment as u64) - bytes) as usize
    }

    /// Where the digest is written once it is known.
    pub(super) fn digest_at(&self) -> u64 {
        self.digest_at
    }

    pub(super) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }
}

fn find(text: &[u8], wanted: &[u8]) -> u64 {
    // It was put there a moment ago.
    text.windows(wanted.len()).position(|window| window == wanted).unwrap_or(0) as u64
}

fn gguf(tensors: Vec<&Placed>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    const VERSION: u32 = 3;
    const TEXT: u32 = 8;
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut header = [b"GGUF".as_slice(), &VERSION.to_le_bytes()].concat();
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        header.extend([text(key), TEXT.to_le_bytes().to_vec(), text(value)].concat());
    }
    let mut start = 0;
    for Placed { name, stored, shape } in &tensors {
        header.extend(text(name));
        header.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|side| header.extend((*side as u64).to_le_bytes()));
        header.extend(gguf_number(*stored).unwrap_or_default().to_le_bytes());
        header.extend(u64::to_le_bytes(start));
        start += stored.bytes(shape).unwrap_or(0).next_multiple_of(ALIGNMENT as u64);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    header
}

fn safetensors(tensors: Vec<&Placed>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    const BLOCK: usize = 8;
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!(metadata));
    let mut start = 0;
    for placed in tensors {
        let end = start + placed.bytes();
        let entry = json!({
            "dtype": safetensors_name(placed.stored).unwrap_or_default(),
            "shape": placed.shape,
            "data_offsets": [start, end],
        });
        entries.insert(placed.name.clone(), entry);
        start = end;
    }
    let mut text = serde_json::Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(BLOCK), b' ');
    [&(text.len() as u64).to_le_bytes(), &text[..]].concat()
}
