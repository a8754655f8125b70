//! The bits that are kept of each row, and where its outcomes are.

use crate::{BatchId, Error, Queue};

impl Queue {
    /// What became of rows, in order: 0 for one that has not ended, 1 for a picture, 2 for a failed one, 3 for another
    /// end.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn row_notes(&self, id: &BatchId, first: u64, rows: u64) -> Result<Vec<u8>, Error> {
        let aligned = first / 4 * 4;
        let most = rows + (first - aligned);
        let bits: Vec<u8> = self.0.connection.call(&self.range(id, "dataset_notes", aligned, most)).await?;
        let note = |row: u64| {
            let byte = bits.get(((row - aligned) / 4) as usize).copied().unwrap_or(0);
            byte >> (6 - 2 * (row % 4)) & 3
        };
        Ok((first..first + rows).map(note).collect())
    }

    /// The name of the newest index of a bucket of rows, or none if there is none.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dataset_index(&self, id: &BatchId, bucket: u64) -> Result<Option<String>, Error> {
        let mut command = self.function(id.shard(), "dataset_index");
        command.arg(id.bytes()).arg(bucket);
        self.0.connection.call(&command).await
    }

    /// Whether rows are marked, in order: a pass over some rows queues the marked ones of those that have not ended well.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn row_marks(&self, id: &BatchId, first: u64, rows: u64) -> Result<Vec<bool>, Error> {
        let aligned = first / 8 * 8;
        let most = rows + (first - aligned);
        let bits: Vec<u8> = self.0.connection.call(&self.range(id, "dataset_marks", aligned, most)).await?;
        let mark = |row: u64| {
            let byte = bits.get(((row - aligned) / 8) as usize).copied().unwrap_or(0);
            byte >> (7 - row % 8) & 1 == 1
        };
        Ok((first..first + rows).map(mark).collect())
    }
}
