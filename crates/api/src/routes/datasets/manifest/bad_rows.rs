//! Bad rows of a manifest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::FieldError;

use crate::problem::Problem;

/// Bad rows that are listed.
const LISTED: usize = 100;

/// A row that was left out.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ListedRow {
    /// Its line in a text, otherwise its number; from 1.
    line: u64,
    /// What is wrong with it.
    faults: Vec<FieldError>,
}

/// Bad rows so far.
#[derive(Default)]
pub(crate) struct BadRows {
    pub(crate) count: u64,
    /// The first of them.
    pub(crate) listed: Vec<ListedRow>,
}

impl BadRows {
    pub(super) fn add(&mut self, line: u64, faults: Vec<FieldError>) {
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push(ListedRow { line, faults });
        }
    }

    /// The refusal of a manifest in which no row may be bad.
    pub(super) fn refuse(self) -> Problem {
        let faults = self.listed.into_iter().flat_map(|ListedRow { line, faults }| {
            let named =
                move |error: FieldError| FieldError { pointer: format!("/{line}{}", error.pointer), ..error };
            faults.into_iter().map(named)
        });
        let detail = format!("{} rows of the manifest are bad; nothing was started", self.count);
        Problem { detail, ..Problem::fields(faults.collect()) }
    }
}

/// Faults by the lines that their pointers begin with.
pub(super) fn by_line(faults: Vec<FieldError>) -> BTreeMap<u64, Vec<FieldError>> {
    let mut lines: BTreeMap<u64, Vec<FieldError>> = BTreeMap::new();
    for fault in faults {
        let named = fault.pointer.trim_start_matches('/');
        let (line, rest) = named.split_once('/').unwrap_or((named, ""));
        let (line, pointer) = (line.parse().unwrap_or(0), format!("/{rest}"));
        lines.entry(line).or_default().push(FieldError { pointer, ..fault });
    }
    lines
}

/// A fault of the manifest as a whole.
pub(super) fn fault(code: &'static str, message: String) -> Problem {
    Problem::fields(vec![FieldError { pointer: "/manifest".into(), code, message }])
}
