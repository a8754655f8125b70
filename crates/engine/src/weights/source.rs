//! Access to the bytes of a weight file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read of all weight files of this process, which shows the progress of loading.
static READ: AtomicU64 = AtomicU64::new(0);

/// Bytes of weight files that this process has read.
pub fn bytes_read() -> u64 {
    READ.load(Ordering::Relaxed)
}

/// Adds to [`bytes_read`].
pub(super) fn count(bytes: usize) {
    READ.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// An open file, or one inside the binary. Reads have no shared position, so threads may share it.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(Arc<File>, u64),
    Bundled(&'static [u8]),
}

impl Source {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self::File(Arc::new(file), bytes))
    }

    /// Length in bytes when it was opened.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::File(_, bytes) => *bytes,
            Self::Bundled(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `buffer` with the bytes from `start` on.
    pub(crate) fn read_at(&self, buffer: &mut [u8], start: u64) -> io::Result<()> {
        count(buffer.len());
        match self {
            Self::File(file, _) => file.read_exact_at(buffer, start),
            Self::Bundled(bytes) => {
                let start = usize::try_from(start).map_err(|_| io::ErrorKind::UnexpectedEof)?;
                let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// The first bytes, at most `most`.
    pub(crate) fn beginning(&self, most: u64) -> io::Result<Vec<u8>> {
        // `most` is a constant of ours, so no file decides how much memory this takes.
        let mut bytes = vec![0; most.min(self.len()) as usize];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// A reader that starts at the beginning.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { source: self, position: 0 }
    }
}

/// Reads a [`Source`] from a position of its own.
pub(crate) struct Reader<'a> {
    source: &'a Source,
    position: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len().saturating_sub(self.position);
        let count = left.min(buffer.len() as u64) as usize;
        self.source.read_at(&mut buffer[..count], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.source.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
