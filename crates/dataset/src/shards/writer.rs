//! Writes the tar of a shard.

use bytes::buf::Writer;
use bytes::{BufMut as _, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::hashes::near_doubles_of;
use super::row::Row;
use super::row_file::write_row_file;
use super::stats::{Counts, Stats};
use crate::{Error, layout};

/// Bytes that a row takes in a tar beside its picture, about.
const OVERHEAD: usize = 4096;

/// Room that is made at once: a part of an upload, and a little.
const ROOM: usize = 9 << 20;

/// Writes the tar of a shard, row by row. The same rows and pictures give the same bytes, always: times, owners and rights
/// of the entries are fixed.
pub struct ShardWriter {
    shard: u32,
    tar: tar::Builder<Writer<BytesMut>>,
    digest: Sha256,
    bytes: u64,
    counts: Counts,
    rows: Vec<Row>,
}

/// A shard that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The last bytes of the tar.
    pub last: Bytes,
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
            tar: tar::Builder::new(BytesMut::new().writer()),
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
    pub fn push(&mut self, row: Row, picture: &[u8]) -> Result<Bytes, Error> {
        self.add(row, picture, &hex::encode(Sha256::digest(picture)))?;
        Ok(self.take(self.written()))
    }

    /// Takes a row with its picture, whose digest is this.
    pub(super) fn add(&mut self, row: Row, picture: &[u8], sha256: &str) -> Result<(), Error> {
        if row.bytes != picture.len() as u64 || row.sha256 != sha256 {
            return Err(Error::Damaged { object: row.file });
        }
        let unwritable = |error: std::io::Error| Error::File { path: row.file.clone(), source: error };
        let json = serde_json::to_vec(&row).map_err(|error| unwritable(error.into()))?;
        let buffer = self.tar.get_mut().get_mut();
        let (before, needed) = (buffer.len(), picture.len() + json.len() + row.prompt.len() + OVERHEAD);
        // Made in large pieces, which are handed on as they are: grown bit by bit, all would be copied again and again.
        if buffer.capacity() - before < needed {
            buffer.reserve(needed.max(ROOM));
        }
        append(&mut self.tar, &row.file, picture).map_err(unwritable)?;
        append(&mut self.tar, &format!("{}.txt", row.stem()), row.prompt.as_bytes()).map_err(unwritable)?;
        append(&mut self.tar, &format!("{}.json", row.stem()), &json).map_err(unwritable)?;
        self.counts.add(&row);
        self.rows.push(row);
        self.count(before);
        Ok(())
    }

    /// Counts a row whose key decided on its side, because it lacks the field that the split goes by.
    pub(super) fn count_split_by_key(&mut self) {
        self.counts.split_by_key += 1;
    }

    /// How many bytes of the tar are written that nobody has taken.
    pub(super) fn written(&self) -> usize {
        self.tar.get_ref().get_ref().len()
    }

    /// The first so many of them; no more than there are.
    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        self.tar.get_mut().get_mut().split_to(bytes).freeze()
    }

    /// Ends the tar and writes what lies beside it.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the row file cannot be made.
    pub fn finish(mut self) -> Result<Written, Error> {
        let end = |source| Error::File { path: layout::shard(self.shard), source };
        let before = self.written();
        // Two empty blocks.
        self.tar.finish().map_err(end)?;
        self.count(before);
        let last = self.take(self.written());
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

    /// Takes note of what was written behind the first bytes that nobody has taken.
    fn count(&mut self, before: usize) {
        let new = &self.tar.get_ref().get_ref()[before..];
        self.digest.update(new);
        self.bytes += new.len() as u64;
    }
}

fn append(tar: &mut tar::Builder<Writer<BytesMut>>, name: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content)
}
