//! What a weight file holds, as its header describes it.

use std::collections::BTreeMap;
use std::fmt;

use super::StoredType;

/// The container of a weight file, recognised by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Container {
    /// A JSON header before the numbers.
    Safetensors,
    /// Ggml's format for quantised weights.
    Gguf,
    /// `torch.save`: a zip file with a pickle in it.
    Pickle,
}

impl fmt::Display for Container {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "GGUF",
            Self::Pickle => "PyTorch pickle",
        })
    }
}

/// A tensor as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How its numbers are stored; None for an unsupported type.
    pub stored: Option<StoredType>,
    /// The file's own name for the type.
    pub type_name: String,
    /// Rows before columns, as in torch.
    pub shape: Vec<usize>,
    /// Offset of its bytes in the file.
    pub start: u64,
    /// Number of its bytes.
    pub bytes: u64,
}

/// The header of a weight file.
#[derive(Debug, Clone)]
pub struct Header {
    /// What kind of file it is.
    pub container: Container,
    /// Every tensor by its name in the file.
    pub tensors: BTreeMap<String, Entry>,
    /// Metadata: texts beside the tensors.
    pub metadata: BTreeMap<String, String>,
}
