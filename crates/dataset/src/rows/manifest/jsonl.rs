//! A JSON object a line.

use std::io::{BufRead, Read};
use std::ops::Range;

use serde_json::{Map, Value};

use crate::rows::row::{BadRow, RawRow};

/// Longest line of a manifest in bytes, and longest record of a CSV file.
pub const MAX_LINE: usize = 1 << 20;
/// Bytes after which a block takes no more lines.
const BLOCK: usize = 1 << 17;
/// Lines after which it takes no more, however short they are.
const BLOCK_LINES: usize = 4096;
/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Lines of a file.
pub(super) struct Lines {
    input: Box<dyn BufRead>,
    line: u64,
}

/// Some lines, not parsed.
#[derive(Debug)]
pub(super) struct LineBlock {
    text: Vec<u8>,
    /// Each line's number and place in the text; no place if it was too long.
    lines: Vec<(u64, Option<Range<usize>>)>,
}

impl Lines {
    pub(super) fn new(input: Box<dyn BufRead>) -> Self {
        Self { input, line: 0 }
    }

    /// The next lines, none at the end, and why there are no more.
    pub(super) fn next_block(&mut self) -> (Option<LineBlock>, Option<String>) {
        let mut block = LineBlock { text: Vec::with_capacity(BLOCK + BLOCK / 8), lines: Vec::new() };
        let failed = loop {
            match self.add_line(&mut block) {
                Ok(true) if block.text.len() < BLOCK && block.lines.len() < BLOCK_LINES => {}
                Ok(_) => break None,
                Err(error) => break Some(format!("after line {}: {error}", self.line)),
            }
        };
        (Some(block).filter(|block| !block.lines.is_empty()), failed)
    }

    /// Adds a line, unless it is empty; false at the end.
    fn add_line(&mut self, block: &mut LineBlock) -> std::io::Result<bool> {
        let start = block.text.len();
        let limit = MAX_LINE as u64 + 2;
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut block.text)?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        let line = &block.text[start..];
        let cut = !line.ends_with(b"\n") && read as u64 == limit;
        if cut {
            self.input.skip_until(b'\n')?;
        }
        let mark =
            if self.line == 1 && line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let end = line.trim_ascii_end().len();
        if cut || end > MAX_LINE {
            block.text.truncate(start);
            block.lines.push((self.line, None));
        } else if !line[mark..].trim_ascii().is_empty() {
            block.lines.push((self.line, Some(start + mark..start + end)));
        } else {
            block.text.truncate(start);
        }
        Ok(true)
    }
}

impl LineBlock {
    /// Its rows.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Its rows in order.
    pub(super) fn into_rows(self) -> impl Iterator<Item = Result<RawRow, BadRow>> {
        let Self { text, lines } = self;
        lines.into_iter().map(move |(line, place)| match place.and_then(|place| text.get(place)) {
            Some(text) => row(line, text),
            None => {
                let message = format!("is longer than {MAX_LINE} bytes");
                Err(BadRow::new(line, "", "too_long", message))
            }
        })
    }
}

fn row(line: u64, text: &[u8]) -> Result<RawRow, BadRow> {
    let bad = |code, message: String| Err(BadRow::new(line, "", code, message));
    let Ok(text) = str::from_utf8(text) else {
        return bad("not_utf8", "is not UTF-8 text".to_owned());
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(RawRow { line, fields, labels: Map::new() }),
        Ok(_) => bad("wrong_type", "must be a JSON object".to_owned()),
        // The position is within the line, and that it is line 1 of itself says nothing.
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            bad("not_json", format!("is not JSON: {reason} at column {}", error.column()))
        }
    }
}
