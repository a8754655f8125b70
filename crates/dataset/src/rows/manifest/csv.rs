//! Columns parted by commas.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::jsonl::MAX_LINE;
use crate::rows::fields::{Holds, holds};
use crate::rows::row::{BadRow, RawRow, fault};

/// Bytes that a record may ask for: the longest one and what is read ahead.
const ALLOWED: usize = MAX_LINE + (1 << 16);

/// Rows of a CSV file; an error ends them.
pub(super) fn rows(input: Box<dyn Read>) -> Result<Rows, String> {
    let left = Rc::new(Cell::new(ALLOWED));
    let bounded = Bounded { input, left: left.clone() };
    let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(bounded);
    let mut record = ByteRecord::new();
    if !reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
        return Err("it is empty; its first line must name the columns".to_owned());
    }
    let mut columns: Vec<Column> = Vec::new();
    for name in &record {
        let name = str::from_utf8(name).map_err(|_| "a column's name is not UTF-8 text")?.trim().to_owned();
        if name.is_empty() {
            return Err(format!("column {} has no name", columns.len() + 1));
        }
        if columns.iter().any(|column| column.name == name) {
            return Err(format!("two columns are called {name}"));
        }
        columns.push(Column { holds: holds(&name).unwrap_or(Holds::Text), name });
    }
    let line = 1 + newlines(&record);
    Ok(Rows { reader, columns, left, line, record })
}

struct Column {
    name: String,
    holds: Holds,
}

/// Rows of a CSV file.
pub(super) struct Rows {
    reader: Reader<Bounded>,
    columns: Vec<Column>,
    left: Rc<Cell<usize>>,
    /// Lines before the next record.
    line: u64,
    record: ByteRecord,
}

impl Iterator for Rows {
    type Item = Result<Result<RawRow, BadRow>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left.set(ALLOWED);
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => Some(Ok(self.row())),
            Err(error) => Some(Err(format!("after line {}: {error}", self.line))),
        }
    }
}

impl Rows {
    fn row(&mut self) -> Result<RawRow, BadRow> {
        let line = self.line + 1;
        self.line = line + newlines(&self.record);
        if self.record.len() != self.columns.len() {
            let message =
                format!("has {} cells, but there are {} columns", self.record.len(), self.columns.len());
            return Err(BadRow::new(line, "", "wrong_length", message));
        }
        let (mut fields, mut faults) = (Map::new(), Vec::new());
        for (column, cell) in self.columns.iter().zip(&self.record) {
            match str::from_utf8(cell) {
                Ok("") => {}
                Ok(cell) => {
                    fields.insert(column.name.clone(), value(column.holds, cell));
                }
                Err(_) => faults.push(fault(&format!("/{}", column.name), "not_utf8", "is not UTF-8 text")),
            }
        }
        if faults.is_empty() {
            Ok(RawRow { line, fields, labels: Map::new() })
        } else {
            Err(BadRow { line, faults })
        }
    }
}

/// A cell as what its field holds. What cannot be read so stays text, and is refused where the job is checked.
fn value(holds: Holds, cell: &str) -> Value {
    let text = || Value::from(cell);
    match holds {
        Holds::Text => text(),
        Holds::Number => {
            let cell = cell.trim();
            let whole = cell.parse::<i64>().map(Value::from);
            whole
                .or_else(|_| cell.parse::<f64>().map(Value::from))
                .ok()
                .filter(Value::is_number)
                .unwrap_or_else(text)
        }
        Holds::Flag => match cell.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => true.into(),
            "false" | "0" => false.into(),
            _ => text(),
        },
        Holds::List if cell.trim_start().starts_with('[') => {
            serde_json::from_str(cell).unwrap_or_else(|_| text())
        }
        Holds::List => {
            cell.split(';').map(str::trim).filter(|path| !path.is_empty()).map(Value::from).collect()
        }
        Holds::Json => serde_json::from_str(cell).unwrap_or_else(|_| text()),
    }
}

/// Lines that a record takes beyond its first.
fn newlines(record: &ByteRecord) -> u64 {
    record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64
}

/// A quotation mark that is never closed would read the rest of the file into memory.
struct Bounded {
    input: Box<dyn Read>,
    left: Rc<Cell<usize>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            let reason = format!("a record is longer than {MAX_LINE} bytes; is a quotation mark left open?");
            return Err(io::Error::other(reason));
        }
        let most = buffer.len().min(left);
        let read = self.input.read(&mut buffer[..most])?;
        self.left.set(left - read);
        Ok(read)
    }
}
