//! Files to which one JSON document a line is added, and which are read again at the next start.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens a log and gives what it holds. A last line that was not written to its end is removed.
    ///
    /// # Errors
    /// If the file cannot be used, or a line of it is not understood.
    pub(super) fn open<T: DeserializeOwned>(path: &Path) -> anyhow::Result<(Self, Vec<T>)> {
        let cannot = || format!("cannot use {}", path.display());
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.with_context(cannot)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(cannot)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        file.set_len(end as u64).and_then(|()| file.seek(SeekFrom::End(0))).with_context(cannot)?;
        let mut entries = Vec::new();
        for (line, text) in (1..).zip(bytes[..end].split_inclusive(|byte| *byte == b'\n')) {
            let entry = serde_json::from_slice(text);
            entries
                .push(entry.with_context(|| format!("{}: line {line} is not understood", path.display()))?);
        }
        Ok((Self { path: path.to_owned(), file }, entries))
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn add(&mut self, entry: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_forgotten_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, entries) = Log::open::<u32>(&path).unwrap();
        assert!(entries.is_empty());
        log.add(&1).unwrap();
        log.add(&23).unwrap();
        std::fs::write(&path, [std::fs::read(&path).unwrap(), b"45".to_vec()].concat()).unwrap();
        let (mut log, entries) = Log::open::<u32>(&path).unwrap();
        assert_eq!(entries, [1, 23]);
        log.add(&6).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n23\n6\n");

        std::fs::write(&path, "1\nx\n").unwrap();
        let said = format!("{:#}", Log::open::<u32>(&path).err().unwrap());
        assert!(said.contains("line 2 is not understood"), "{said}");
    }
}
