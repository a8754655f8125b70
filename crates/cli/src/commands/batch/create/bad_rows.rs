//! Rows that cannot be queued, as people read them.

use std::fmt;

use uso_dataset::rows::BadRow;

/// Bad rows that are printed.
pub(super) const LISTED: usize = 100;

/// Rows that cannot be queued: the first [`LISTED`], and how many there are.
#[derive(Default)]
pub(super) struct BadRows {
    /// What a row's number counts: lines or rows.
    place: &'static str,
    pub(super) first: Vec<BadRow>,
    pub(super) count: u64,
}

impl BadRows {
    pub(super) fn new(place: &'static str) -> Self {
        Self { place, ..Self::default() }
    }

    pub(super) fn add(&mut self, row: BadRow) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(row);
        }
    }
}

impl fmt::Display for BadRows {
    /// A line for each fault: where, which field, what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.first {
            for fault in &row.faults {
                let field = fault.pointer.trim_start_matches('/');
                let colon = if field.is_empty() { "" } else { ": " };
                writeln!(f, "{} {}: {field}{colon}{}", self.place, row.line, fault.message)?;
            }
        }
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "and {more} more bad rows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};
    use uso_dataset::rows::{Checker, Options, RawRow};
    use uso_queue::Defaults;

    use super::*;

    fn bad(line: u64, fields: Value) -> BadRow {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        let mut checker = Checker::new(Defaults::default(), Options::default());
        checker.check(RawRow { line, fields, labels: Map::new() }).unwrap_err()
    }

    #[test]
    fn each_fault_has_a_line_and_the_first_100_rows_are_printed() {
        let mut rows = BadRows::new("line");
        rows.add(bad(7, json!({ "prompt": "a", "width": 8, "colour": "red" })));
        let text = rows.to_string();
        assert_eq!(text, "line 7: width: 8 is not within 16 to 2048\nline 7: colour: no such field\n");
        for line in 8..=110 {
            rows.add(bad(line, json!({ "steps": 0 })));
        }
        let text = rows.to_string();
        assert_eq!((rows.count, rows.first.len(), text.lines().count()), (104, LISTED, 102));
        assert!(text.ends_with("line 106: steps: 0 is not within 1 to 100\nand 4 more bad rows\n"), "{text}");
    }
}
