//! The list of an exported folder's pictures.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde_json::Value;

use super::columns::{COLUMNS, FILE_NAME};
use super::row_file::RowWriter;

/// Rows that are written to a typed list at once.
const GROUP: usize = 1000;

/// Bytes of a list of lines at most: from so many readers learn the types of all columns, and one that is null there must
/// be null in all further lines.
const LINES: u64 = 10 << 20;

const LINES_NAME: &str = "metadata.jsonl";

/// The list of an exported folder's pictures.
pub(super) enum List {
    /// `metadata.jsonl`, if it does not become too long.
    Lines(BufWriter<File>),
    /// `metadata.parquet`, and the rows that are not in it yet.
    Typed(Box<RowWriter<File>>, Vec<Value>),
}

impl List {
    /// Begins the list of a folder; a typed one says the types of its columns.
    pub(super) fn new(folder: &Path, typed: bool) -> io::Result<Self> {
        if !typed {
            return Ok(Self::Lines(BufWriter::new(File::create_new(folder.join(LINES_NAME))?)));
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

    /// Writes what is left of the list of this folder.
    pub(super) fn finish(self, folder: &Path) -> io::Result<()> {
        match self {
            Self::Lines(mut file) => {
                file.flush()?;
                if file.get_ref().metadata()?.len() > LINES { say_types(folder) } else { Ok(()) }
            }
            Self::Typed(mut writer, rows) => {
                if !rows.is_empty() {
                    writer.group(&rows).map_err(io::Error::other)?;
                }
                writer.close().map_err(io::Error::other)
            }
        }
    }
}

/// Puts a list that says the types of its columns in the place of lines.
fn say_types(folder: &Path) -> io::Result<()> {
    let lines = folder.join(LINES_NAME);
    let mut typed = List::new(folder, true)?;
    for line in BufReader::new(File::open(&lines)?).lines() {
        typed.add(serde_json::from_str(&line?)?)?;
    }
    typed.finish(folder)?;
    std::fs::remove_file(lines)
}
