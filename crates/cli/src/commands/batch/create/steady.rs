//! A manifest is read more than once: it must be the same each time.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use uso_dataset::Error;
use uso_dataset::rows::{BadRow, Row};

/// Rows that are compared at once.
const BLOCK: usize = 1000;

type Checked = Result<Row, BadRow>;

/// What a manifest was when it was read to its end for the first time: a hash of each block of its rows.
#[derive(Default)]
pub(super) struct Steady {
    first: Mutex<Option<Vec<u64>>>,
    has_changed: Mutex<bool>,
}

/// One reading of a manifest: it gives rows to `sink` once they are known to be those of the first reading.
pub(super) struct Reading<'a, S> {
    steady: &'a Steady,
    manifest: String,
    /// Of the first reading; none if this is it.
    first: Option<Vec<u64>>,
    hashes: Vec<u64>,
    block: Vec<Checked>,
    sink: S,
}

impl Steady {
    /// Begins to read.
    pub(super) fn begin<S>(&self, manifest: String, sink: S) -> Reading<'_, S>
    where
        S: FnMut(Checked) -> Result<(), Error>,
    {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Reading { steady: self, manifest, first, hashes: Vec::new(), block: Vec::with_capacity(BLOCK), sink }
    }

    /// Whether some reading has found other rows than the first.
    pub(super) fn has_changed(&self) -> bool {
        *self.has_changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FnMut(Checked) -> Result<(), Error>> Reading<'_, S> {
    /// Takes the next row.
    pub(super) fn take(&mut self, row: Checked) -> Result<(), Error> {
        self.block.push(row);
        if self.block.len() == BLOCK { self.give() } else { Ok(()) }
    }

    /// Takes note of the end.
    pub(super) fn end(mut self) -> Result<(), Error> {
        self.give()?;
        match &self.first {
            Some(first) if first.len() != self.hashes.len() => Err(self.changed()),
            Some(_) => Ok(()),
            None => {
                let mut first = self.steady.first.lock().unwrap_or_else(PoisonError::into_inner);
                *first = Some(std::mem::take(&mut self.hashes));
                Ok(())
            }
        }
    }

    fn give(&mut self) -> Result<(), Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        let hash = hash(&self.block);
        if self.first.as_ref().is_some_and(|first| first.get(self.hashes.len()) != Some(&hash)) {
            return Err(self.changed());
        }
        self.hashes.push(hash);
        self.block.drain(..).try_for_each(&mut self.sink)
    }

    fn changed(&self) -> Error {
        *self.steady.has_changed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let row = self.hashes.len() * BLOCK + 1;
        Error::Manifest {
            manifest: self.manifest.clone(),
            reason: format!(
                "it, or a picture that it names, has changed while it was read: from row {row} on it is another one"
            ),
        }
    }
}

fn hash(rows: &[Checked]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in rows {
        match row {
            Ok(row) => (&row.key, row.digest).hash(&mut hasher),
            Err(bad) => (bad.line, bad.faults.len()).hash(&mut hasher),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use uso_dataset::rows::{Checker, Options, RawRow};
    use uso_queue::Defaults;

    use super::*;

    fn rows(count: u64) -> Vec<Row> {
        let mut checker = Checker::new(Defaults::default(), Options::default());
        let row = |seed: u64| {
            let fields = json!({ "prompt": "a", "seed": seed }).as_object().unwrap().clone();
            checker.check(RawRow { line: seed + 1, fields, labels: Map::new() }).unwrap()
        };
        (0..count).map(row).collect()
    }

    /// Reads; gives how many rows came through.
    fn read(steady: &Steady, rows: &[Row]) -> (u64, Result<(), Error>) {
        let mut through = 0;
        let mut reading = steady.begin("foxes.jsonl".into(), |_| {
            through += 1;
            Ok(())
        });
        let taken = rows.iter().try_for_each(|row| reading.take(Ok(row.clone())));
        let ended = taken.and_then(|()| reading.end());
        (through, ended)
    }

    #[test]
    fn rows_that_differ_from_the_first_reading_do_not_come_through() {
        let (steady, rows) = (Steady::default(), rows(2500));
        assert!(matches!(read(&steady, &rows), (2500, Ok(()))));
        assert!(matches!(read(&steady, &rows), (2500, Ok(()))));
        assert!(!steady.has_changed());
        let mut other = rows.clone();
        other[1500].key = "other".into();
        let (through, ended) = read(&steady, &other);
        let said = ended.unwrap_err().to_string();
        assert_eq!((through, steady.has_changed()), (1000, true));
        assert!(
            said.starts_with("foxes.jsonl: it, or a picture") && said.contains("from row 1001 on"),
            "{said}"
        );
        assert!(read(&steady, &rows[..2400]).1.is_err(), "it is shorter");
        assert!(read(&steady, &rows[..2000]).1.is_err(), "it ends with a block");
        assert!(read(&steady, &[rows.clone(), rows[..1].to_vec()].concat()).1.is_err(), "it is longer");
    }
}
