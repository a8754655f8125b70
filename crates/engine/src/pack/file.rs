//! The header of a packed file, and the places of its tensors.

use super::contents::Contents;
use crate::model::PACKED_DIGEST;
use crate::weights::{GGUF_ALIGNMENT, Placed, gguf_header, safetensors_header};

/// A placeholder of the same length for the digest of the numbers.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A header, and the places of the tensors.
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
        let tensors: Vec<&Placed> = contents.packings.iter().flat_map(|packing| &packing.tensors).collect();
        let (header, alignment) = if contents.is_gguf() {
            (gguf_header(&tensors, &metadata), GGUF_ALIGNMENT)
        } else {
            (safetensors_header(&tensors, &metadata), 1)
        };
        let digest_at = find(&header, UNKNOWN.as_bytes());
        let data_bytes = tensors.iter().map(|placed| placed.bytes()).sum();
        Self { header, alignment, digest_at, data_bytes }
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Bytes between the end of a tensor of `bytes` bytes and the start of the next.
    pub(super) fn padding(&self, bytes: u64) -> usize {
        (bytes.next_multiple_of(self.alignment as u64) - bytes) as usize
    }

    /// Offset in bytes at which to write the digest once it is known.
    pub(super) fn digest_at(&self) -> u64 {
        self.digest_at
    }

    pub(super) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }
}

fn find(text: &[u8], wanted: &[u8]) -> u64 {
    // It is always found: it was just written there.
    text.windows(wanted.len()).position(|window| window == wanted).unwrap_or(0) as u64
}
