//! What the tests of rows share.

use std::io::Cursor;
use std::path::PathBuf;

use serde_json::{Map, Value};
use uso_dataset::rows::{BadRow, Checker, Grid, Kind, Manifest, Options, RawRow, Row};
use uso_queue::Defaults;

/// A row or its faults as (pointer, code).
pub(super) type Checked = Result<Row, Vec<(String, &'static str)>>;

pub(super) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rows").join(name)
}

pub(super) fn manifest(kind: Kind, text: impl Into<Vec<u8>>) -> Manifest {
    Manifest::read("the manifest", kind, Cursor::new(text.into())).unwrap()
}

pub(super) fn raw(kind: Kind, text: impl Into<Vec<u8>>) -> Vec<Result<RawRow, BadRow>> {
    manifest(kind, text).map(Result::unwrap).collect()
}

pub(super) fn fields(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { panic!("{value}") };
    fields
}

pub(super) fn row(line: u64, value: Value) -> RawRow {
    RawRow { line, fields: fields(value), ..RawRow::default() }
}

pub(super) fn checker() -> Checker {
    Checker::new(Defaults::default(), Options::default())
}

pub(super) fn check(value: Value) -> Checked {
    checker().check(row(1, value)).map_err(|bad| faults(&bad))
}

pub(super) fn faults(bad: &BadRow) -> Vec<(String, &'static str)> {
    bad.faults.iter().map(|fault| (fault.pointer.clone(), fault.code)).collect()
}

pub(super) fn grid(text: &str) -> Grid {
    Grid::parse(text).unwrap()
}

/// Checks all rows, none of which may be bad.
pub(super) fn good(rows: impl IntoIterator<Item = RawRow>) -> Vec<Row> {
    let mut checker = checker();
    rows.into_iter().map(|row| checker.check(row).unwrap()).collect()
}
