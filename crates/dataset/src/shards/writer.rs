//! Writes the tar of a shard.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::hashes::near_doubles_of;
use super::row::Row;
use super::row_file::write_row_file;
use super::stats::{Counts, Stats};
use crate::{Error, layout};

/// Writes the tar of a shard, row by row. The same rows and pictures give the same bytes, always: times, owners and rights
/// of the entries are fixed.
pub struct ShardWriter {
    shard: u32,
    tar: tar::Builder<Vec<u8>>,
    digest: Sha256,
    bytes: u64,
    counts: Counts,
    rows: Vec<Row>,
}

/// A shard that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The last bytes of the tar.
    pub last: Vec<u8>,
    /// The row file.
    pub row_file: Bytes,
    /// What is in the shard.
    pub stats: Stats,
}

impl ShardWriter {
    /// Begins a shard.
    pub fn new(shard: u32) -> Self {
        Self {
            shard,
            tar: tar::Builder::new(Vec::new()),
            digest: Sha256::new(),
            bytes: 0,
            counts: Counts::default(),
            rows: Vec::new(),
        }
    }

    /// Takes a row with its picture; returns the next bytes of the tar.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the picture is not the row's.
    pub fn push(&mut self, row: Row, picture: &[u8]) -> Result<Vec<u8>, Error> {
        if row.bytes != picture.len() as u64 || row.sha256 != hex::encode(Sha256::digest(picture)) {
            return Err(Error::Damaged { object: row.file });
        }
        let unwritable = |error: std::io::Error| Error::File { path: row.file.clone(), source: error };
        let json = serde_json::to_vec(&row).map_err(|error| unwritable(error.into()))?;
        append(&mut self.tar, &row.file, picture).map_err(unwritable)?;
        append(&mut self.tar, &format!("{}.txt", row.stem()), row.prompt.as_bytes()).map_err(unwritable)?;
        append(&mut self.tar, &format!("{}.json", row.stem()), &json).map_err(unwritable)?;
        self.counts.add(&row);
        self.rows.push(row);
        let bytes = std::mem::take(self.tar.get_mut());
        self.count(&bytes);
        Ok(bytes)
    }

    /// Ends the tar and writes what lies beside it.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the row file cannot be made.
    pub fn finish(mut self) -> Result<Written, Error> {
        let tar = std::mem::replace(&mut self.tar, tar::Builder::new(Vec::new()));
        let end = |source| Error::File { path: layout::shard(self.shard), source };
        // Two empty blocks.
        let last = tar.into_inner().map_err(end)?;
        self.count(&last);
        let row_file = Bytes::from(write_row_file(&self.rows)?);
        let stats = Stats {
            shard: self.shard,
            file: layout::shard(self.shard),
            rows: self.rows.len() as u64,
            bytes: self.bytes,
            sha256: hex::encode(self.digest.finalize()),
            row_file: layout::row_file(self.shard),
            row_file_bytes: row_file.len() as u64,
            row_file_sha256: hex::encode(Sha256::digest(&row_file)),
            near_doubles: Some(near_doubles_of(&self.rows, self.shard)),
            counts: self.counts,
        };
        Ok(Written { last, row_file, stats })
    }

    fn count(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content)
}
