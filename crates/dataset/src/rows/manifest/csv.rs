//! Columns parted by commas.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{self, Read};
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use serde_json::{Map, Value};
use uso_queue::FieldError;

use super::jsonl::MAX_LINE;
use crate::rows::fields::{Holds, holds};
use crate::rows::row::{BadRow, RawRow, fault};

/// Bytes that a record may ask for: the longest one and what is read ahead.
const ALLOWED: usize = MAX_LINE + (1 << 16);
/// What follows the end of a file: the first line feed ends its last record, and only a quotation mark that is left open
/// takes the second one too.
const END: &[u8] = b"\n\n";

/// Rows of a CSV file; an error ends them.
pub(super) fn rows(input: Box<dyn Read>) -> Result<Rows, String> {
    let state = Rc::new(State { left: Cell::new(ALLOWED), read: Cell::new(0), ended: Cell::new(0) });
    let bounded = Bounded { input, state: state.clone() };
    // A line ends with its line feed, so that lines can be counted; a carriage return before it is taken off later.
    let mut builder = ReaderBuilder::new();
    let builder = builder.flexible(true).has_headers(false).terminator(Terminator::Any(b'\n'));
    let mut rows = Rows {
        reader: builder.from_reader(bounded),
        columns: Vec::new(),
        state,
        line: 0,
        record: ByteRecord::new(),
    };
    if !rows.read_record()? {
        return Err("it is empty; its first line must name the columns".to_owned());
    }
    rows.columns = columns(&rows.record)?;
    Ok(rows)
}

fn columns(record: &ByteRecord) -> Result<Vec<Column>, String> {
    let (mut columns, mut names) = (Vec::new(), HashSet::new());
    for name in cells(record) {
        let name = str::from_utf8(name).map_err(|_| "a column's name is not UTF-8 text")?.trim().to_owned();
        if name.is_empty() {
            return Err(format!("column {} has no name", columns.len() + 1));
        }
        if !names.insert(name.clone()) {
            return Err(format!("two columns are called {name}"));
        }
        columns.push(Column { holds: holds(&name).unwrap_or(Holds::Text), name });
    }
    Ok(columns)
}

struct Column {
    name: String,
    holds: Holds,
}

/// Rows of a CSV file.
pub(super) struct Rows {
    reader: Reader<Bounded>,
    columns: Vec<Column>,
    state: Rc<State>,
    /// Where the last record began.
    line: u64,
    record: ByteRecord,
}

impl Iterator for Rows {
    type Item = Result<Result<RawRow, BadRow>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read_record() {
            Ok(false) => None,
            Ok(true) => Some(Ok(self.row())),
            Err(reason) => Some(Err(reason)),
        }
    }
}

impl Rows {
    /// Reads the next record that is not an empty line; false at the end.
    fn read_record(&mut self) -> Result<bool, String> {
        loop {
            self.state.left.set(ALLOWED);
            let read = self.reader.read_byte_record(&mut self.record);
            if !read.map_err(|error| format!("after line {}: {error}", self.line))? {
                return Ok(false);
            }
            let after = self.reader.position();
            if after.byte() > self.state.read.get() + 1 {
                let line = after.line() - line_feeds(self.record.iter().next_back().unwrap_or_default());
                return Err(format!("line {line}: a quotation mark is left open"));
            }
            // The reader has counted the line feed at the record's end too.
            self.line = after.line() - 1 - line_feeds(self.record.as_slice());
            if cells(&self.record).any(|cell| !cell.is_empty()) || self.record.len() > 1 {
                return Ok(true);
            }
        }
    }

    fn row(&mut self) -> Result<RawRow, BadRow> {
        let (line, width) = (self.line, self.columns.len());
        if self.record.len() != width {
            let message = format!("has {} cells, but there are {width} columns", self.record.len());
            return Err(BadRow::new(line, "", "wrong_length", message));
        }
        let (mut fields, mut faults) = (Map::new(), Vec::new());
        for (column, cell) in self.columns.iter().zip(cells(&self.record)) {
            match str::from_utf8(cell) {
                Ok("") => {}
                Ok(cell) => {
                    fields.insert(column.name.clone(), value(column.holds, cell));
                }
                Err(_) => {
                    let pointer = FieldError::unknown(&column.name).pointer;
                    faults.push(fault(&pointer, "not_utf8", "is not UTF-8 text"));
                }
            }
        }
        if faults.is_empty() {
            Ok(RawRow { line, fields, labels: Map::new() })
        } else {
            Err(BadRow::with(line, faults))
        }
    }
}

fn line_feeds(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// A record's cells, the last one without the carriage return of its line.
fn cells(record: &ByteRecord) -> impl Iterator<Item = &[u8]> {
    let last = record.len().saturating_sub(1);
    record.iter().enumerate().map(move |(i, cell)| match cell.strip_suffix(b"\r") {
        Some(cell) if i == last => cell,
        _ => cell,
    })
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

/// What the reader of records and its input tell each other.
struct State {
    /// Bytes that the record may still ask for.
    left: Cell<usize>,
    /// Bytes of the file that were read.
    read: Cell<u64>,
    /// Bytes of [`END`] that were given after them.
    ended: Cell<usize>,
}

/// A file and what follows its end. A quotation mark that is never closed would read the rest of it into memory.
struct Bounded {
    input: Box<dyn Read>,
    state: Rc<State>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.state.left.get();
        if left == 0 {
            let reason = format!("a record is longer than {MAX_LINE} bytes; is a quotation mark left open?");
            return Err(io::Error::other(reason));
        }
        let most = buffer.len().min(left);
        let read = self.input.read(&mut buffer[..most])?;
        self.state.left.set(left - read);
        self.state.read.set(self.state.read.get() + read as u64);
        if read > 0 {
            return Ok(read);
        }
        let ended = self.state.ended.get();
        let added = END.get(ended..).unwrap_or_default().read(buffer)?;
        self.state.ended.set(ended + added);
        Ok(added)
    }
}
