//! Which rows were seen, to find doubles and gaps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest as _, Sha256};

use super::finding::Finding;

/// Rows that were seen, each with its tar.
#[derive(Default)]
pub(super) struct Seen {
    rows: BTreeMap<u64, u32>,
    /// Keys by half of their SHA-256: there may be millions.
    keys: HashMap<[u8; 16], u32>,
    tars: Vec<String>,
}

impl Seen {
    /// Takes the rows and keys of a tar; returns those that were there before.
    pub(super) fn add(&mut self, tar: &str, rows: Vec<(u64, String)>) -> Vec<Finding> {
        let number = self.tars.len() as u32;
        self.tars.push(tar.to_owned());
        let mut doubles = Vec::new();
        for (row, key) in rows {
            let earlier = self.rows.insert(row, number);
            let earlier = self.keys.insert(short_digest(&key), number).or(earlier);
            if let Some(first) = earlier.and_then(|first| self.tars.get(first as usize)) {
                doubles.push(Finding::Double { row, key, first: first.clone(), second: tar.to_owned() });
            }
        }
        doubles
    }

    /// Compares with the rows that should be there.
    pub(super) fn compare(&self, expected: &BTreeSet<u64>) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for row in expected.iter().filter(|row| !self.rows.contains_key(row)) {
            match findings.last_mut() {
                Some(Finding::Gap { last, .. }) if *last + 1 == *row => *last = *row,
                _ => findings.push(Finding::Gap { first: *row, last: *row }),
            }
        }
        let unexpected = self.rows.keys().filter(|row| !expected.contains(row));
        findings.extend(unexpected.map(|row| Finding::Unexpected { row: *row }));
        findings
    }
}

fn short_digest(key: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(key)[..16]);
    short
}
