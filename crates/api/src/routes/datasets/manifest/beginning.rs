//! The first rows of a manifest, looked at before there is a data set for them.

use uso_dataset::rows::{BadRow, Checker, Kind, Row};
use uso_dataset::{Error, Split};
use uso_store::Store;

use super::bad_rows::{BadRows, by_line};
use super::object::{FoundManifest, unreadable};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::routes::datasets::add;
use crate::routes::datasets::request::WantedRows;
use crate::shared::Shared;

/// How many rows are looked at.
const ROWS: usize = 500;

/// The first rows of a manifest.
#[derive(Default)]
struct Beginning {
    rows: Vec<Row>,
    /// If one of the first rows is bad, all that are.
    bad: BadRows,
}

/// Checks the first rows of a manifest and what they point to. Gives the manifest back.
///
/// # Errors
/// That it cannot be read, or has bad rows that are not to be left out.
pub(super) async fn check(
    shared: &Shared,
    caller: &Caller,
    wanted: &WantedRows,
    split: Option<Split>,
    mut found: FoundManifest,
) -> Result<FoundManifest, Problem> {
    let checker = wanted.checker(shared.config.defaults.clone(), split);
    let (store, kind, skips_bad) = (shared.store.clone(), wanted.kind, wanted.skips_bad);
    let reading = tokio::task::spawn_blocking(move || {
        let read = read(&store, &mut found, kind, checker, skips_bad);
        read.map(|beginning| (found, beginning))
    });
    let read = reading.await.map_err(|error| Problem::internal(&error))?;
    let (found, Beginning { mut rows, mut bad }) = read.map_err(unreadable)?;
    if skips_bad {
        return Ok(found);
    }
    if bad.count == 0 {
        let faults = by_line(add::check(shared, caller, &mut rows).await?);
        faults.into_iter().for_each(|(line, faults)| bad.add(line, faults));
    }
    if bad.count == 0 { Ok(found) } else { Err(bad.refuse()) }
}

/// Reads the first rows. Only if one of them is bad it reads on, so that all bad rows can be named.
fn read(
    store: &Store,
    found: &mut FoundManifest,
    kind: Kind,
    mut checker: Checker,
    skips_bad: bool,
) -> Result<Beginning, Error> {
    let (manifest, mut beginning) = (found.open(store, kind)?, Beginning::default());
    for (number, row) in (1..).zip(manifest.rows) {
        let row = row.map_err(|error| manifest.fault.or(error))?;
        match row.and_then(|row| checker.check(row)) {
            Ok(row) if number <= ROWS => beginning.rows.push(row),
            Ok(_) => {}
            Err(BadRow { line, faults }) => beginning.bad.add(line, faults),
        }
        if number >= ROWS && (skips_bad || beginning.bad.count == 0) {
            break;
        }
    }
    Ok(beginning)
}
