//! The list of an exported folder's pictures.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde_json::Value;

use super::columns::{COLUMNS, FILE_NAME};
use super::row_file::RowWriter;

/// Rows that are written to a typed list at once.
const GROUP: usize = 1000;

/// The list of an exported folder's pictures.
pub(super) enum List {
    /// `metadata.jsonl`.
    Lines(BufWriter<File>),
    /// `metadata.parquet`, and the rows that are not in it yet.
    Typed(Box<RowWriter<File>>, Vec<Value>),
}

impl List {
    /// Begins the list of a folder; a typed one says the types of its columns.
    pub(super) fn new(folder: &Path, typed: bool) -> io::Result<Self> {
        if !typed {
            return Ok(Self::Lines(BufWriter::new(File::create_new(folder.join("metadata.jsonl"))?)));
        }
        let file = File::create_new(folder.join("metadata.parquet"))?;
        let columns = std::iter::once(&FILE_NAME).chain(COLUMNS).collect();
        let writer = RowWriter::new(file, columns).map_err(io::Error::other)?;
        Ok(Self::Typed(Box::new(writer), Vec::new()))
    }

    /// Takes a row.
    pub(super) fn add(&mut self, row: Value) -> io::Result<()> {
        match self {
            Self::Lines(file) => writeln!(file, "{row}"),
            Self::Typed(writer, rows) => {
                rows.push(row);
                if rows.len() < GROUP {
                    return Ok(());
                }
                writer.group(&std::mem::take(rows)).map_err(io::Error::other)
            }
        }
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Lines(mut file) => file.flush(),
            Self::Typed(mut writer, rows) => {
                if !rows.is_empty() {
                    writer.group(&rows).map_err(io::Error::other)?;
                }
                writer.close().map_err(io::Error::other)
            }
        }
    }
}
