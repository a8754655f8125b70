//! Reads one tar back and compares it with what is said of it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::finding::Finding;
use super::row::Row;
use super::samples::{Sample, each_sample};
use super::stats::Stats;

/// What was found in a shard.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    /// Number and key of each row.
    pub(super) rows: Vec<(u64, String)>,
}

/// Compares a tar with its statistics, each picture with its row, and all rows with those of the row file, if there is one.
pub(super) fn check_shard(tar: &mut dyn Read, stats: &Stats, row_file: Option<Vec<Row>>) -> Checked {
    let mut check = Check { stats, others: None, checked: Checked::default(), samples: 0 };
    if let Some(rows) = row_file {
        check.take_others(rows);
    }
    let mut hashed = Hashed { inner: tar, digest: Sha256::new() };
    let read = each_sample(&mut hashed, |sample| {
        check.sample(&sample);
        ControlFlow::Continue(())
    });
    // What lies behind the end of the tar counts for its checksum.
    let rest = io::copy(&mut hashed, &mut io::sink());
    let broken = read.and(rest.map(drop)).err().map(|error| error.to_string());
    check.end(broken, hex::encode(hashed.digest.finalize()))
}

struct Check<'a> {
    stats: &'a Stats,
    /// Rows of the row file that were not met yet.
    others: Option<BTreeMap<u64, Row>>,
    checked: Checked,
    samples: u64,
}

impl Check<'_> {
    /// Takes the rows of the row file.
    fn take_others(&mut self, rows: Vec<Row>) {
        let mut others = BTreeMap::new();
        for row in rows {
            if let Some(twice) = others.insert(row.row, row) {
                self.row_file(twice.key, "it is there twice".to_owned());
            }
        }
        self.others = Some(others);
    }

    fn sample(&mut self, sample: &Sample) {
        self.samples += 1;
        let file = || self.stats.file.clone();
        let row = match sample.row() {
            Ok(row) => row,
            Err(reason) => {
                let finding = Finding::Row { file: file(), key: sample.stem.clone(), reason };
                return self.checked.findings.push(finding);
            }
        };
        if let Some(reason) = mismatch(sample, &row) {
            let finding = Finding::Row { file: file(), key: row.key.clone(), reason: reason.into() };
            self.checked.findings.push(finding);
        } else if !sample.picture.as_ref().is_some_and(|(_, picture)| is_of(picture, &row)) {
            self.checked.findings.push(Finding::Picture { file: file(), key: row.key.clone() });
        }
        self.checked.rows.push((row.row, row.key.clone()));
        let Some(others) = &mut self.others else { return };
        let reason = match others.remove(&row.row) {
            None => Some("it is in the tar alone".to_owned()),
            Some(other) => difference(&row, &other),
        };
        if let Some(reason) = reason {
            self.row_file(row.key, reason);
        }
    }

    fn row_file(&mut self, key: String, reason: String) {
        let file = self.stats.row_file.clone();
        self.checked.findings.push(Finding::RowFile { file, key, reason });
    }

    fn end(mut self, broken: Option<String>, sha256: String) -> Checked {
        let file = self.stats.file.clone();
        if let Some(reason) = broken {
            self.checked.findings.push(Finding::Unreadable { file, reason });
            // What could not be read is not known to be missing.
            let unread = self.others.take().unwrap_or_default().into_values();
            self.checked.rows.extend(unread.map(|row| (row.row, row.key)));
            return self.checked;
        }
        for (_, row) in self.others.take().unwrap_or_default() {
            self.row_file(row.key, "it is in the row file alone".to_owned());
        }
        if self.samples != self.stats.rows {
            let count = Finding::Count { file: file.clone(), listed: self.stats.rows, found: self.samples };
            self.checked.findings.push(count);
        }
        // A finding in the tar explains it.
        let explained = self.checked.findings.iter().any(|finding| {
            matches!(finding, Finding::Picture { .. } | Finding::Row { .. } | Finding::Count { .. })
        });
        if sha256 != self.stats.sha256 && !explained {
            self.checked.findings.push(Finding::Checksum { file });
        }
        self.checked
    }
}

/// Whether the files of a sample are those that its row names.
fn mismatch(sample: &Sample, row: &Row) -> Option<&'static str> {
    let Some((name, _)) = &sample.picture else { return Some("it has no picture") };
    if *name != row.file {
        return Some("its picture has another name than its json file says");
    }
    match &sample.text {
        None => Some("it has no text file"),
        Some(text) if text != row.prompt.as_bytes() => Some("its text file is not its prompt"),
        Some(_) => None,
    }
}

fn is_of(picture: &[u8], row: &Row) -> bool {
    picture.len() as u64 == row.bytes && hex::encode(Sha256::digest(picture)) == row.sha256
}

/// The first field in which two rows differ.
fn difference(tar: &Row, file: &Row) -> Option<String> {
    if tar == file {
        return None;
    }
    let fields = |row: &Row| serde_json::to_value(row).unwrap_or_default();
    let (tar, file) = (fields(tar), fields(file));
    let mut names = tar.as_object().into_iter().flat_map(|fields| fields.keys());
    let first = names.find(|name| tar.get(name.as_str()) != file.get(name.as_str()));
    Some(match first {
        Some(name) => format!("its {name} is {} in the tar and {} here", tar[name], file[name]),
        None => "it differs from the tar".to_owned(),
    })
}

/// A file, and the digest of what was read of it.
struct Hashed<'a> {
    inner: &'a mut dyn Read,
    digest: Sha256,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.inner.read(buffer)?;
        self.digest.update(&buffer[..size]);
        Ok(size)
    }
}
