//! Rows of a batch that ask for something else than before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use anyhow::ensure;
use tokio::sync::mpsc;
use uso_dataset::rows::{BadRow, Row};
use uso_queue::FieldError;

use super::bad_rows::LISTED;
use super::compare::ChangedRows;
use super::input::Input;
use super::local::LocalPictures;
use super::send::{AHEAD, MOST_BYTES, Sender, read, write_line};
use crate::client::{BadLine, Client, Replaced};

/// Rows that are held at most while others of their chunks are looked for: manifests mostly keep their order.
const MOST_HELD: usize = 20_000;

/// Rows that stay as they are: the first of them by place, key and reason.
#[derive(Default)]
pub(super) struct KeptRows {
    place: &'static str,
    pub(super) first: Vec<(u64, String, String)>,
    pub(super) count: u64,
}

impl KeptRows {
    fn add(&mut self, line: u64, key: String, why: String) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push((line, key, why));
        }
    }
}

impl fmt::Display for KeptRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, key, why) in &self.first {
            writeln!(f, "{} {line}: row {key} {why}", self.place)?;
        }
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "and {more} more rows stay as they are"),
        }
    }
}

/// Changed rows on their way to the chunks that they are in.
struct Changed {
    hasher: RandomState,
    /// The chunk of each key that is not sent yet, by the key's hash.
    chunks: HashMap<u64, u64>,
    /// How many rows of each chunk have not been read yet.
    missing: HashMap<u64, usize>,
    /// Rows that were read, by chunk.
    held: BTreeMap<u64, Vec<Row>>,
    held_rows: usize,
}

impl Changed {
    /// Finds the chunks of these keys.
    async fn find(
        client: &Client,
        id: &str,
        keys: HashSet<u64>,
        hasher: RandomState,
    ) -> anyhow::Result<Self> {
        let (mut chunks, mut missing, mut number) = (HashMap::with_capacity(keys.len()), HashMap::new(), 0);
        while let Some(chunk) = client.patiently(async || client.chunk(id, number).await).await? {
            let hashes = chunk.iter().map(|row| hasher.hash_one(&row.key));
            for hash in hashes.filter(|hash| keys.contains(hash)) {
                chunks.insert(hash, number);
                *missing.entry(number).or_default() += 1;
            }
            number += 1;
        }
        Ok(Self { hasher, chunks, missing, held: BTreeMap::new(), held_rows: 0 })
    }

    /// Takes a row; gives its chunk's rows once they are complete, or too many are held.
    fn take(&mut self, row: Row) -> Option<(u64, Vec<Row>)> {
        let number = self.chunks.remove(&self.hasher.hash_one(&row.key))?;
        self.held.entry(number).or_default().push(row);
        self.held_rows += 1;
        let missing = self.missing.entry(number).or_default();
        *missing = missing.saturating_sub(1);
        if *missing == 0 {
            return self.give(number);
        }
        let fullest = self.held.iter().max_by_key(|(_, rows)| rows.len()).map(|(number, _)| *number);
        fullest.filter(|_| self.held_rows > MOST_HELD).and_then(|number| self.give(number))
    }

    fn give(&mut self, number: u64) -> Option<(u64, Vec<Row>)> {
        let rows = self.held.remove(&number)?;
        self.held_rows -= rows.len();
        Some((number, rows))
    }

    /// Gives what is left.
    fn rest(&mut self) -> Option<(u64, Vec<Row>)> {
        let number = *self.held.keys().next()?;
        self.give(number)
    }
}

impl Sender<'_> {
    /// Has the changed rows of a manifest take the places of the old ones. Gives how many did, and those that cannot.
    pub(super) async fn replace(
        &mut self,
        input: &Arc<Input>,
        rows: ChangedRows,
    ) -> anyhow::Result<(u64, KeptRows)> {
        let ChangedRows { rows, keys, hasher, .. } = rows;
        let mut changed = Changed::find(self.client, self.id, keys, hasher).await?;
        let mut kept = KeptRows { place: input.place(), ..KeptRows::default() };
        let (rows_in, mut rows_out) = mpsc::channel(AHEAD);
        let reader = tokio::task::spawn_blocking({
            let input = input.clone();
            move || read(&input, &rows, &rows_in)
        });
        let mut replaced = 0;
        while let Some(rows) = rows_out.recv().await {
            for row in rows {
                if let Some((number, rows)) = changed.take(row) {
                    replaced += self.replace_in(number, rows, input.pictures(), &mut kept).await?;
                }
            }
        }
        reader.await??;
        while let Some((number, rows)) = changed.rest() {
            replaced += self.replace_in(number, rows, input.pictures(), &mut kept).await?;
        }
        Ok((replaced, kept))
    }

    /// Replaces rows of one chunk; gives how many.
    async fn replace_in(
        &mut self,
        number: u64,
        mut rows: Vec<Row>,
        pictures: &Arc<LocalPictures>,
        kept: &mut KeptRows,
    ) -> anyhow::Result<u64> {
        self.uploads.add(self.client, pictures, rows.iter()).await?;
        let mut replaced = 0;
        while !rows.is_empty() {
            let (mut body, mut count) = (Vec::new(), 0);
            for row in &mut rows {
                if body.len() > MOST_BYTES {
                    break;
                }
                self.uploads.apply(row)?;
                write_line(row, &mut body)?;
                count += 1;
            }
            let asked = async || self.client.replace_rows(self.id, number, &body).await;
            match self.client.patiently(asked).await? {
                Replaced::Done(stay) => {
                    replaced += (count - stay.len()) as u64;
                    let lines: HashMap<String, u64> =
                        rows.drain(..count).map(|row| (row.key, row.line)).collect();
                    for (key, why) in stay {
                        kept.add(lines.get(&key).copied().unwrap_or_default(), key, why);
                    }
                }
                Replaced::Bad(lines) => {
                    let is_some_out = self.leave_out(&mut rows, &lines);
                    ensure!(
                        self.skips_bad && is_some_out,
                        "{}nothing more was changed; --on-bad skip leaves bad rows out",
                        self.bad
                    );
                }
            }
        }
        Ok(replaced)
    }

    /// Takes rows out that the fleet does not take; gives whether there were any.
    fn leave_out(&mut self, rows: &mut Vec<Row>, lines: &[BadLine]) -> bool {
        let mut faults: BTreeMap<u64, Vec<FieldError>> = BTreeMap::new();
        for BadLine { line, pointer, message } in lines {
            let fault = FieldError { pointer: pointer.clone(), code: "refused", message: message.clone() };
            faults.entry(*line).or_default().push(fault);
        }
        let before = rows.len();
        let (mut line, bad) = (0, &mut self.bad);
        rows.retain(|row| {
            line += 1;
            let Some(faults) = faults.remove(&line) else { return true };
            bad.add(BadRow { line: row.line, faults });
            false
        });
        rows.len() < before
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use uso_dataset::rows::{Checker, Options, RawRow};
    use uso_queue::Defaults;

    use super::*;

    fn row(key: u64) -> Row {
        let fields = json!({ "key": format!("k{key}"), "prompt": "a" }).as_object().unwrap().clone();
        let raw = RawRow { line: key + 1, fields, labels: Map::new() };
        Checker::new(Defaults::default(), Options::default()).check(raw).unwrap()
    }

    fn changed(places: &[(u64, u64)]) -> Changed {
        let hasher = RandomState::new();
        let chunks: HashMap<u64, u64> =
            places.iter().map(|(key, chunk)| (hasher.hash_one(format!("k{key}")), *chunk)).collect();
        let mut missing = HashMap::new();
        places.iter().for_each(|(_, chunk)| *missing.entry(*chunk).or_default() += 1);
        Changed { hasher, chunks, missing, held: BTreeMap::new(), held_rows: 0 }
    }

    #[test]
    fn the_rows_of_a_chunk_go_together_in_whatever_order_they_come() {
        let mut changed = changed(&[(1, 0), (2, 0), (3, 4), (9, 7)]);
        let keys = |given: Option<(u64, Vec<Row>)>| {
            given.map(|(number, rows)| (number, rows.into_iter().map(|row| row.line - 1).collect::<Vec<_>>()))
        };
        assert_eq!(keys(changed.take(row(2))), None);
        assert_eq!(keys(changed.take(row(3))), Some((4, vec![3])));
        assert_eq!(keys(changed.take(row(1))), Some((0, vec![2, 1])));
        assert_eq!(keys(changed.take(row(1))), None, "it is sent once");
        assert_eq!(keys(changed.take(row(5))), None, "it is in no chunk");
        assert_eq!((keys(changed.rest()), changed.held_rows), (None, 0));
    }
}
