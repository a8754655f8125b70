//! The header of a packed file, and where everything lies in it.

use super::contents::Contents;
use crate::model::PACKED_DIGEST;
use crate::weights::{GGUF_ALIGNMENT, Placed, gguf_header, safetensors_header};

/// Stands where the digest of the numbers will be: as many characters.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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
