//! Keys that no file can be named after. S3 allows 1,024 bytes, file systems 255 for each part of a path, and
//! s3s-fs writes the whole key into one more name.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

/// Folder in a bucket in which objects with such keys lie, each under its key's digest.
pub(super) const FOLDER: &str = ".long";

/// Folder beside the buckets in which the keys are noted; the name of the file is bucket and digest.
const NOTES: &str = ".long-keys";

/// Longest name of a file in bytes.
const LONGEST_NAME: usize = 255;

/// What s3s-fs writes around bucket and key into a name of its own.
const AROUND: usize = ".bucket-.object-.metadata.json".len();

/// What it adds for an upload in parts.
pub(super) const UPLOAD_ROOM: usize = ".upload-00000000-0000-0000-0000-000000000000".len();

/// The keys that lie under their digests.
pub(super) struct LongKeys {
    notes: PathBuf,
    /// Bucket and key.
    known: Mutex<BTreeSet<(String, String)>>,
}

impl LongKeys {
    /// Reads what was noted before.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let notes = root.join(NOTES);
        let mut known = BTreeSet::new();
        match std::fs::read_dir(&notes) {
            Ok(entries) => {
                for entry in entries {
                    let note = std::fs::read_to_string(entry?.path())?;
                    let note = note.split_once('/').map(|(bucket, key)| (bucket.to_owned(), key.to_owned()));
                    known.extend(note);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { notes, known: Mutex::new(known) })
    }

    /// The key under which an object lies; `room` is what its name must leave.
    pub(super) fn place(&self, bucket: &str, key: &str, room: usize) -> String {
        let known = || self.lock().contains(&(bucket.to_owned(), key.to_owned()));
        if !can_be_named(bucket, key, room) || known() {
            return format!("{FOLDER}/{}", digest(key));
        }
        key.to_owned()
    }

    /// Notes a key, so that lists have it.
    pub(super) fn note(&self, bucket: &str, key: &str) -> io::Result<()> {
        let name = (bucket.to_owned(), key.to_owned());
        if self.lock().contains(&name) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.notes)?;
        std::fs::write(self.note_of(bucket, key), format!("{bucket}/{key}"))?;
        self.lock().insert(name);
        Ok(())
    }

    /// Forgets a key whose object is gone.
    pub(super) fn forget(&self, bucket: &str, key: &str) -> io::Result<()> {
        self.lock().remove(&(bucket.to_owned(), key.to_owned()));
        match std::fs::remove_file(self.note_of(bucket, key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Keys of a bucket that begin so, each with where it lies.
    pub(super) fn beginning_with(&self, bucket: &str, prefix: &str) -> Vec<(String, String)> {
        let known = self.lock();
        let from = known.range((bucket.to_owned(), prefix.to_owned())..);
        let ours = from.take_while(|(whose, key)| whose == bucket && key.starts_with(prefix));
        let place = |key: &str| format!("{FOLDER}/{}", digest(key));
        ours.map(|(_, key)| (key.clone(), place(key))).collect()
    }

    fn note_of(&self, bucket: &str, key: &str) -> PathBuf {
        self.notes.join(format!("{bucket}.{}", digest(key)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256 of a key in hexadecimal.
fn digest(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

fn can_be_named(bucket: &str, key: &str, room: usize) -> bool {
    let encoded = |text: &str| (text.len() * 4).div_ceil(3);
    let beside = AROUND + room + encoded(bucket) + encoded(key);
    let first = key.split('/').next().unwrap_or_default();
    let is_name = |part: &str| part.len() <= LONGEST_NAME && !matches!(part, "." | "..");
    beside <= LONGEST_NAME && first != FOLDER && key.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_files_name_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let keys = LongKeys::read(folder.path()).unwrap();
        for key in ["jobs/0-018f0000-0000-7000-8000-000000000000/12/0.png", "a//b", "ä 1+2%.png"] {
            assert_eq!(keys.place("uso", key, 0), key);
        }
        for key in [&"k".repeat(256), &"k/".repeat(300), "a/../b", ".long/a"] {
            assert!(keys.place("uso", key, 0).starts_with(".long/"), "{key}");
        }
    }

    #[test]
    fn keys_are_known_after_a_new_start_until_they_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("a/{}", "k".repeat(1000));
        LongKeys::read(folder.path()).unwrap().note("uso", &long).unwrap();
        let keys = LongKeys::read(folder.path()).unwrap();
        assert_eq!(keys.beginning_with("uso", "a/")[0].0, long);
        assert!(keys.beginning_with("uso", "b").is_empty() && keys.beginning_with("us", "").is_empty());
        keys.forget("uso", &long).unwrap();
        assert!(LongKeys::read(folder.path()).unwrap().beginning_with("uso", "").is_empty());
    }
}
