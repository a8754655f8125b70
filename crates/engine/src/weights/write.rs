//! Writes headers of weight files.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::{StoredType, gguf_number, safetensors_name};

/// Alignment in bytes of tensors in a GGUF file, unless its metadata sets another.
pub const GGUF_ALIGNMENT: usize = 32;

/// A tensor to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// How its numbers are stored.
    pub stored: StoredType,
    /// Rows before columns.
    pub shape: Vec<usize>,
}

impl Placed {
    /// Bytes of its numbers; 0 if its rows are not whole blocks of its type.
    pub fn bytes(&self) -> u64 {
        self.stored.bytes(&self.shape).unwrap_or(0)
    }
}

/// Everything before the numbers of a GGUF file. These follow in the order of `tensors`, each padded to a multiple of
/// [`GGUF_ALIGNMENT`] bytes.
pub fn gguf_header(tensors: &[&Placed], metadata: &BTreeMap<String, String>) -> Vec<u8> {
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
    for placed in tensors {
        header.extend(text(&placed.name));
        header.extend((placed.shape.len() as u32).to_le_bytes());
        placed.shape.iter().rev().for_each(|side| header.extend((*side as u64).to_le_bytes()));
        header.extend(gguf_number(placed.stored).unwrap_or_default().to_le_bytes());
        header.extend(u64::to_le_bytes(start));
        start += placed.bytes().next_multiple_of(GGUF_ALIGNMENT as u64);
    }
    header.resize(header.len().next_multiple_of(GGUF_ALIGNMENT), 0);
    header
}

/// Everything before the numbers of a safetensors file. These follow in the order of `tensors`, without gaps.
pub fn safetensors_header(tensors: &[&Placed], metadata: &BTreeMap<String, String>) -> Vec<u8> {
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
