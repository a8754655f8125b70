//! The rows of a manifest beside those that a batch has.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use uso_dataset::Error;
use uso_dataset::rows::{Change, Changes};

use super::bad_rows::LISTED;
use super::input::Input;
use super::new_rows::NewRows;
use crate::client::Client;

/// The rows of a manifest beside those that a batch has.
pub(super) struct Comparison {
    /// Rows that the batch has.
    pub(super) rows: u64,
    /// Chunks that they lie in.
    pub(super) chunks: u64,
    /// Rows of the manifest that are there.
    pub(super) same: u64,
    /// Rows of the manifest that are not there.
    pub(super) new: NewRows,
    pub(super) changed: ChangedRows,
    /// Rows that are there but not in the manifest.
    pub(super) missing: u64,
    /// Keys of the first of them.
    pub(super) named: Vec<String>,
}

/// Rows that are there under the same key, but ask for something else.
#[derive(Default)]
pub(super) struct ChangedRows {
    place: &'static str,
    first: Vec<(u64, String)>,
    pub(super) count: u64,
    /// Which rows of the manifest they are.
    pub(super) rows: NewRows,
    /// Hashes of their keys.
    pub(super) keys: HashSet<u64>,
    pub(super) hasher: RandomState,
}

impl fmt::Display for ChangedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, key) in &self.first {
            writeln!(f, "{} {line}: row {key} asks for something else than before", self.place)?;
        }
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "and {more} more changed rows"),
        }
    }
}

/// Compares all rows of the manifest with the batch.
pub(super) async fn compare(client: &Client, id: &str, input: &Arc<Input>) -> anyhow::Result<Comparison> {
    let (mut changes, mut rows, mut chunks) = (Changes::default(), 0, 0);
    while let Some(chunk) = client.patiently(async || client.chunk(id, chunks).await).await? {
        chunk.iter().for_each(|row| changes.old(&row.key, row.digest));
        rows += chunk.len() as u64;
        chunks += 1;
    }
    if rows == 0 {
        let (new, changed) = (NewRows::everything(), ChangedRows::default());
        return Ok(Comparison { rows, chunks, same: 0, new, changed, missing: 0, named: Vec::new() });
    }
    let (place, input) = (input.place(), input.clone());
    let read = move || read(&input, changes, ChangedRows { place, ..ChangedRows::default() });
    let (changes, new, changed) = tokio::task::spawn_blocking(read).await??;
    let missing = changes.missing();
    let named = if missing > 0 { names(client, id, &changes).await? } else { Vec::new() };
    Ok(Comparison { rows, chunks, same: changes.same, new, changed, missing, named })
}

fn read(
    input: &Input,
    mut changes: Changes,
    mut changed: ChangedRows,
) -> anyhow::Result<(Changes, NewRows, ChangedRows)> {
    let (mut new, mut number) = (NewRows::default(), 0);
    input.each_row(|row| {
        let Ok(row) = row else { return Ok::<(), Error>(()) };
        match changes.compare(&row.key, row.digest) {
            Change::Same => {}
            Change::New => new.add(number),
            Change::Changed => {
                changed.count += 1;
                changed.rows.add(number);
                changed.keys.insert(changed.hasher.hash_one(&row.key));
                if changed.first.len() < LISTED {
                    changed.first.push((row.line, row.key));
                }
            }
        }
        number += 1;
        Ok(())
    })?;
    Ok((changes, new, changed))
}

/// Keys of the first rows that the manifest does not name.
async fn names(client: &Client, id: &str, changes: &Changes) -> anyhow::Result<Vec<String>> {
    let (mut names, mut number) = (Vec::new(), 0);
    while let Some(chunk) = client.patiently(async || client.chunk(id, number).await).await? {
        names.extend(chunk.into_iter().map(|row| row.key).filter(|key| changes.is_missing(key)));
        if names.len() >= LISTED {
            names.truncate(LISTED);
            break;
        }
        number += 1;
    }
    Ok(names)
}
