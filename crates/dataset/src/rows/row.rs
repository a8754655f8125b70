//! A row, before and after it is checked.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uso_queue::{FieldError, JobSpec};

/// Most rows of a manifest or a grid: what is kept of each takes memory while it is read.
pub const MAX_ROWS: u64 = 5_000_000;

/// Faults of one row that are named: each field that a job has not is one, and a line has room for a hundred thousand.
const MOST_FAULTS: usize = 100;

/// What a row asks for, unchecked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawRow {
    /// Where it stands: a line of a text file, otherwise the row's number; both from 1.
    pub line: u64,
    /// Its fields; null counts as left out.
    pub fields: Map<String, Value>,
    /// What is added to its `metadata` but is no part of what it asks for: key and digest stay as they are when it
    /// changes.
    pub labels: Map<String, Value>,
}

/// A row that can be queued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Where it stood in its manifest, from 1. A chunk does not keep it: there it is the line of the chunk.
    #[serde(skip)]
    pub line: u64,
    /// Its name in the batch: 1 to [`MAX_ROW_KEY`](super::MAX_ROW_KEY) of `A-Z a-z 0-9 _ -`.
    pub key: String,
    /// Digest of what it asks for.
    pub digest: Digest,
    /// Equal for rows with the same references, or, if they have none, with the same prompt: what is encoded once for
    /// all of them. Below 2^53, so that JSON keeps it everywhere.
    pub group: u64,
    /// The job.
    pub job: JobSpec,
}

/// A row that cannot be queued, with all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// Where it stands, as [`RawRow::line`].
    pub line: u64,
    /// Its faults, the first 100 of them and how many more there are; a pointer is empty where the row as a whole is meant.
    pub faults: Vec<FieldError>,
}

impl BadRow {
    /// A row with one fault.
    pub(crate) fn new(line: u64, pointer: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { line, faults: vec![fault(pointer, code, message)] }
    }

    /// A row with these faults.
    pub(crate) fn with(line: u64, mut faults: Vec<FieldError>) -> Self {
        let more = faults.len().saturating_sub(MOST_FAULTS);
        if more > 0 {
            faults.truncate(MOST_FAULTS);
            faults.shrink_to_fit();
            faults.push(fault("", "more", format!("and {more} more faults")));
        }
        Self { line, faults }
    }
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: ", self.line)?;
        for (i, fault) in self.faults.iter().enumerate() {
            let comma = if i == 0 { "" } else { "; " };
            let space = if fault.pointer.is_empty() { "" } else { " " };
            write!(f, "{comma}{}{space}{}", fault.pointer, fault.message)?;
        }
        Ok(())
    }
}

/// One fault of a row.
pub(crate) fn fault(pointer: &str, code: &'static str, message: impl Into<String>) -> FieldError {
    FieldError { pointer: pointer.to_owned(), code, message: message.into() }
}

/// The first 16 bytes of a SHA-256; 32 hexadecimal digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The first half of a SHA-256.
    pub(crate) fn of(hash: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(half)
    }

    /// Its first 8 bytes: enough to tell two digests apart.
    pub(crate) fn short(self) -> u64 {
        self.0[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut half = [0; 16];
        let read = hex::decode_to_slice(&text, &mut half);
        read.map(|()| Self(half)).map_err(|_| serde::de::Error::custom("a digest has 32 hexadecimal digits"))
    }
}
