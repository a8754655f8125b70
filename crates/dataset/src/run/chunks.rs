//! Which chunk of the store holds which rows.

use serde::{Deserialize, Serialize};
use uso_queue::{BatchId, Queue};
use uso_store::Store;

use crate::rows::{Chunk, Row};
use crate::{Error, layout};

/// Chunks that one call to the queue asks for.
const PAGE: u64 = 1000;

/// What the queue keeps of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkEntry {
    /// Rows in it.
    pub rows: u64,
    /// SHA-256 of the object in hexadecimal, which is part of its key.
    pub sha256: String,
}

/// The chunks of a batch, in order.
#[derive(Debug, Default)]
pub struct Chunks {
    /// Each with the number of its first row.
    entries: Vec<(u64, ChunkEntry)>,
}

impl Chunks {
    /// Reads entries that came since the last time.
    ///
    /// # Errors
    /// [`Error::Queue`], or [`Error::Unreadable`].
    pub async fn refresh(&mut self, queue: &Queue, batch: &BatchId) -> Result<(), Error> {
        loop {
            let known = self.entries.len() as u64;
            let more = queue.dataset_chunks(batch, known, PAGE).await?;
            for text in &more {
                let entry: ChunkEntry = serde_json::from_str(text).map_err(|error| Error::Unreadable {
                    object: format!("chunk {} of batch {batch}", self.entries.len()),
                    reason: error.to_string(),
                })?;
                self.entries.push((self.rows(), entry));
            }
            if (more.len() as u64) < PAGE {
                return Ok(());
            }
        }
    }

    /// Rows in all of them.
    pub fn rows(&self) -> u64 {
        self.entries.last().map_or(0, |(first, entry)| first + entry.rows)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the chunk that holds a row.
    pub fn of_row(&self, row: u64) -> Option<usize> {
        let after = self.entries.partition_point(|(first, _)| *first <= row);
        after.checked_sub(1).filter(|_| row < self.rows())
    }

    /// First row and entry of a chunk.
    pub fn get(&self, number: usize) -> Option<&(u64, ChunkEntry)> {
        self.entries.get(number)
    }

    /// Fetches the rows of a chunk.
    ///
    /// # Errors
    /// [`Error::Store`], or [`Error::Unreadable`] if the object is not what was put there.
    pub async fn fetch(&self, store: &Store, batch: &BatchId, number: usize) -> Result<Vec<Row>, Error> {
        self.read(store, batch, number, |key, text| Ok(Chunk::read(key, text)?.into_rows())).await
    }

    /// Fetches the keys of a chunk's rows alone.
    ///
    /// # Errors
    /// As [`Chunks::fetch`].
    pub async fn fetch_keys(
        &self,
        store: &Store,
        batch: &BatchId,
        number: usize,
    ) -> Result<Vec<String>, Error> {
        self.read(store, batch, number, Chunk::read_keys).await
    }

    async fn read<T>(
        &self,
        store: &Store,
        batch: &BatchId,
        number: usize,
        read: impl Fn(&str, &[u8]) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let Some((_, entry)) = self.entries.get(number) else { return Ok(Vec::new()) };
        let key = layout::chunk(batch, number as u64, &entry.sha256);
        let rows = read(&key, &store.get(&key).await?)?;
        if rows.len() as u64 != entry.rows {
            let reason = format!("{} rows, there should be {}", rows.len(), entry.rows);
            return Err(Error::Unreadable { object: key, reason });
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_in_one_chunk() {
        let entry = |rows| ChunkEntry { rows, sha256: String::new() };
        let chunks = Chunks { entries: vec![(0, entry(3)), (3, entry(1)), (4, entry(2))] };
        let found: Vec<_> = (0..7).map(|row| chunks.of_row(row)).collect();
        assert_eq!(found, [Some(0), Some(0), Some(0), Some(1), Some(2), Some(2), None]);
        assert_eq!(Chunks::default().of_row(0), None);
    }
}
