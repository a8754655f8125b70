//! Which keys there have been.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use super::row::{BadRow, Row};

/// Which keys there have been, by 64 bits of a hash: 16 bytes a row and room to grow, about 50 MB for a million rows.
/// That two of a million different keys have the same hash happens once in 37 million batches; then a row is refused
/// wrongly.
#[derive(Debug)]
pub(super) struct Seen {
    /// What a row's number counts: lines or rows.
    place: &'static str,
    hasher: RandomState,
    /// Line and part of the digest of each key's first row.
    rows: HashMap<u64, (u32, u32)>,
}

impl Seen {
    pub(super) fn new(place: &'static str) -> Self {
        Self { place, hasher: RandomState::new(), rows: HashMap::new() }
    }

    /// Takes a row whose key is new.
    pub(super) fn admit(&mut self, row: Row) -> Result<Row, BadRow> {
        let digest = row.digest.short() as u32;
        match self.rows.entry(self.hasher.hash_one(&row.key)) {
            Entry::Vacant(free) => {
                free.insert((u32::try_from(row.line).unwrap_or(u32::MAX), digest));
                Ok(row)
            }
            Entry::Occupied(first) => {
                let ((line, first), place) = (*first.get(), self.place);
                Err(if first == digest {
                    let message =
                        format!("is the same as {place} {line}; another key or seed makes it another row");
                    BadRow::new(row.line, "", "twice", message)
                } else {
                    let message = format!("{place} {line} has the same key, and asks for something else");
                    BadRow::new(row.line, "/key", "twice", message)
                })
            }
        }
    }
}
