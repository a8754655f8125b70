//! Checked rows as they lie in the store.

use std::io::Write;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fields::is_key;
use super::row::Row;
use crate::Error;

/// Rows of a chunk; the last one of a batch may have fewer.
pub const CHUNK_ROWS: usize = 1000;

/// Checked rows as they lie in the store: [`CHUNK_ROWS`] lines of JSON, `{"key", "digest", "group", "job"}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chunk {
    rows: Vec<Row>,
}

impl Chunk {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether it takes no more rows.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= CHUNK_ROWS
    }

    /// Its rows in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Its rows in order.
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Writes it down.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for a job that cannot be written as JSON; there is none that was read from a manifest.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::with_capacity(self.rows.len() * 512);
        for row in &self.rows {
            let unwritable =
                |reason: String| Error::Unreadable { object: format!("row {}", row.key), reason };
            serde_json::to_writer(&mut text, row).map_err(|error| unwritable(error.to_string()))?;
            text.write_all(b"\n").map_err(|error| unwritable(error.to_string()))?;
        }
        Ok(text)
    }

    /// Reads what [`Chunk::write`] wrote; `object` names it in errors.
    ///
    /// # Errors
    /// [`Error::Unreadable`] with the line for what is not a chunk, or not all of it.
    pub fn read(object: &str, text: &[u8]) -> Result<Self, Error> {
        let rows = lines(object, text, |row: &Row| &row.key)?;
        Ok(Self { rows: (1..).zip(rows).map(|(line, row)| Row { line, ..row }).collect() })
    }

    /// The keys of its rows alone, in order, which takes a fraction of the time.
    ///
    /// # Errors
    /// [`Error::Unreadable`] as [`Chunk::read`], as far as it shows.
    pub fn read_keys(object: &str, text: &[u8]) -> Result<Vec<String>, Error> {
        let rows = lines(object, text, |row: &KeyOnly| &row.key)?;
        Ok(rows.into_iter().map(|row| row.key).collect())
    }
}

/// The key of a row, without anything else.
#[derive(Deserialize)]
struct KeyOnly {
    key: String,
}

/// The lines of a chunk.
fn lines<T: DeserializeOwned>(object: &str, text: &[u8], key: impl Fn(&T) -> &str) -> Result<Vec<T>, Error> {
    let unreadable = |reason| Error::Unreadable { object: object.to_owned(), reason };
    let mut rows = Vec::new();
    if !text.is_empty() && !text.ends_with(b"\n") {
        return Err(unreadable("its last line is cut off".to_owned()));
    }
    for (line, text) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let row: T =
            serde_json::from_slice(text).map_err(|error| unreadable(format!("line {line}: {error}")))?;
        if !is_key(key(&row)) {
            return Err(unreadable(format!("line {line}: {:?} is no key", key(&row))));
        }
        rows.push(row);
    }
    if rows.len() > CHUNK_ROWS {
        return Err(unreadable(format!("{} rows, a chunk has at most {CHUNK_ROWS}", rows.len())));
    }
    Ok(rows)
}

impl From<Vec<Row>> for Chunk {
    fn from(rows: Vec<Row>) -> Self {
        Self { rows }
    }
}
