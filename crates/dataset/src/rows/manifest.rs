//! Rows from a file.

mod csv;
mod evaluation;
mod jsonl;
mod parquet;

use std::io::{BufReader, Read};
use std::path::Path;
use std::vec;

use serde_json::Value;

pub use self::evaluation::MAX_EVALUATION;
pub use self::jsonl::MAX_LINE;
use self::jsonl::{LineBlock, Lines};
use super::grid::Grid;
use super::row::{BadRow, MAX_ROWS, RawRow};
use crate::{Error, file};

/// Rows of a block that are read one by one.
const BLOCK_ROWS: usize = 512;

/// Bytes that such rows take about, after which a block takes no more of them.
const BLOCK_BYTES: usize = 4 << 20;

/// Bytes that a value takes beside its text, about.
const BESIDE_TEXT: usize = 64;

/// The format of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON object a line, each of at most [`MAX_LINE`] bytes. Empty lines are skipped.
    Jsonl,
    /// Columns parted by commas, named by the first line. An empty cell is left out; `styles` is a JSON array or parted
    /// by `;`; `loras` and `metadata` are JSON (metadata that is none is text).
    Csv,
    /// Columns of texts, numbers, booleans, times, structures and lists of them.
    Parquet,
    /// What USO's own evaluation reads: a JSON array of `{prompt, image_paths, save_dir}`, of at most
    /// [`MAX_EVALUATION`] bytes. The first path is the content reference, the others are styles, an empty one is none.
    /// `save_dir`, the stem of the result's file, becomes the key if it can be one, and stays in `metadata`.
    Evaluation,
}

impl Kind {
    /// The format that a file's name says: `.jsonl`, `.ndjson`, `.csv`, `.parquet`, `.json` (evaluation).
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            "json" => Some(Self::Evaluation),
            _ => None,
        }
    }

    /// What a row's number counts in a file of this format.
    pub fn place(self) -> &'static str {
        match self {
            Self::Jsonl | Self::Csv => "line",
            Self::Parquet | Self::Evaluation => "row",
        }
    }
}

/// Rows from a file, read as they are asked for: it holds no more than a block of them (an evaluation is held whole).
///
/// Paths in it are given as they are written; what they are relative to, the manifest's folder, is known to
/// whoever resolves them.
pub struct Manifest {
    name: String,
    input: Input,
    /// Rows of the last block that nobody has asked for.
    rows: Option<Rows>,
    /// Rows that were read.
    count: u64,
    /// Why it cannot be read on, once the rows before have been given.
    failed: Option<String>,
    /// Whether its end was told, or why it has none.
    ended: bool,
}

enum Input {
    Lines(Lines),
    Rows(Box<dyn Iterator<Item = Result<Raw, String>>>),
}

type Raw = Result<RawRow, BadRow>;
type Rows = Box<dyn Iterator<Item = Raw>>;

/// Some rows of a manifest, to be parsed where there is time for it.
#[derive(Debug)]
pub struct Block(Content);

#[derive(Debug)]
enum Content {
    Lines(LineBlock),
    Rows(vec::IntoIter<Raw>),
}

impl Block {
    /// How many rows it has, at least one.
    pub fn count(&self) -> u64 {
        match &self.0 {
            Content::Lines(lines) => lines.len() as u64,
            Content::Rows(rows) => rows.len() as u64,
        }
    }

    /// Its rows in order.
    pub fn into_rows(self) -> Box<dyn Iterator<Item = Result<RawRow, BadRow>>> {
        match self.0 {
            Content::Lines(lines) => Box::new(lines.into_rows()),
            Content::Rows(rows) => Box::new(rows),
        }
    }
}

impl Manifest {
    /// Opens a file. Without a `kind` its name says what it is.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be opened, or is no regular file; [`Error::Manifest`] for a name that says nothing, and for a file whose
    /// beginning is not what it should be.
    pub fn open(path: &Path, kind: Option<Kind>) -> Result<Self, Error> {
        let name = path.display().to_string();
        let unknown = || Error::Manifest {
            manifest: name.clone(),
            reason: "say what it is, or name it .jsonl, .ndjson, .csv, .parquet or .json".to_owned(),
        };
        let kind = kind.or_else(|| Kind::of(path)).ok_or_else(unknown)?;
        let file = file::open(path).map_err(|source| Error::File { path: name.clone(), source })?;
        match kind {
            Kind::Parquet => {
                let rows = parquet::rows(file)
                    .map_err(|reason| Error::Manifest { manifest: name.clone(), reason })?;
                Ok(Self::new(name, Input::Rows(Box::new(rows))))
            }
            kind => Self::read(&name, kind, file),
        }
    }

    /// Reads a manifest that is called `name` in errors from a stream.
    ///
    /// # Errors
    /// [`Error::Manifest`] if its beginning is not what it should be, and for Parquet: that is read from its end.
    pub fn read(name: &str, kind: Kind, input: impl Read + 'static) -> Result<Self, Error> {
        let opened = match kind {
            Kind::Jsonl => Ok(Input::Lines(Lines::new(Box::new(BufReader::with_capacity(1 << 16, input))))),
            Kind::Csv => csv::rows(Box::new(input)).map(|rows| Input::Rows(Box::new(rows))),
            Kind::Evaluation => evaluation::rows(input).map(|rows| Input::Rows(Box::new(rows.map(Ok)))),
            Kind::Parquet => Err("a Parquet file cannot be read from a stream; give its path".to_owned()),
        };
        let name = name.to_owned();
        match opened {
            Ok(input) => Ok(Self::new(name, input)),
            Err(reason) => Err(Error::Manifest { manifest: name, reason }),
        }
    }

    fn new(name: String, input: Input) -> Self {
        Self { name, input, rows: None, count: 0, failed: None, ended: false }
    }

    /// The next rows, not yet parsed if they are lines; none at the end. Do not mix this with the iterator.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it cannot be read on, has no rows at all, or more than [`MAX_ROWS`]; after that there is
    /// nothing more.
    pub fn next_block(&mut self) -> Result<Option<Block>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut content = None;
        if self.failed.is_none() {
            (content, self.failed) = match &mut self.input {
                Input::Lines(lines) => {
                    let (lines, failed) = lines.next_block();
                    (lines.map(Content::Lines), failed)
                }
                Input::Rows(rows) => next_rows(rows),
            };
        }
        let block = content.map(Block);
        self.count += block.as_ref().map_or(0, Block::count);
        if self.count > MAX_ROWS {
            return Err(self.end(format!("it has more than {MAX_ROWS} rows; send them in parts")));
        }
        // Rows that were read before it failed come first.
        match (block, self.failed.take()) {
            (None, Some(reason)) => Err(self.end(reason)),
            (None, None) if self.count == 0 => Err(self.end("it has no rows".to_owned())),
            (block, failed) => {
                self.failed = failed;
                Ok(block)
            }
        }
    }

    fn end(&mut self, reason: String) -> Error {
        self.ended = true;
        Error::Manifest { manifest: self.name.clone(), reason }
    }
}

/// Some rows, none at the end, and why there are no more.
fn next_rows(rows: &mut dyn Iterator<Item = Result<Raw, String>>) -> (Option<Content>, Option<String>) {
    let (mut block, mut bytes) = (Vec::new(), 0_usize);
    let failed = loop {
        match rows.next() {
            Some(Ok(row)) => {
                bytes += row.as_ref().map_or(0, size_of_row);
                block.push(row);
            }
            Some(Err(reason)) => break Some(reason),
            None => break None,
        }
        if block.len() == BLOCK_ROWS || bytes >= BLOCK_BYTES {
            break None;
        }
    };
    (Some(block).filter(|block| !block.is_empty()).map(|block| Content::Rows(block.into_iter())), failed)
}

/// Bytes that a row takes, about.
fn size_of_row(row: &RawRow) -> usize {
    row.fields.iter().map(size_of_field).sum()
}

fn size_of_field((name, value): (&String, &Value)) -> usize {
    name.len() + size_of(value)
}

fn size_of(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size_of).sum(),
        Value::Object(fields) => fields.iter().map(size_of_field).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    BESIDE_TEXT + inside
}

impl Iterator for Manifest {
    /// A row or what is wrong with it; an error if the manifest cannot be read on, after which there is nothing more to
    /// ask for.
    type Item = Result<Result<RawRow, BadRow>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return Some(Ok(row));
            }
            match self.next_block() {
                Ok(Some(block)) => self.rows = Some(block.into_rows()),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl From<Grid> for Manifest {
    /// A grid's rows, read as a manifest's are.
    fn from(grid: Grid) -> Self {
        let rows = grid.rows().map(|row| Ok(Ok(row)));
        Self::new("the grid".to_owned(), Input::Rows(Box::new(rows)))
    }
}
