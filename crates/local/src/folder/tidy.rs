//! Folders that nothing lies in any more: removed, but not from under a file that is about to come.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Folders that files are being written to, each with how many.
#[derive(Default)]
pub(super) struct Tidy(Mutex<BTreeMap<PathBuf, usize>>);

/// A file that is being written, for as long as this lives.
pub(super) struct Using {
    tidy: Arc<Tidy>,
    folder: PathBuf,
}

impl Tidy {
    /// Keeps the folder of a file that is about to be written.
    pub(super) fn using(self: &Arc<Self>, file: &Path) -> Using {
        let folder = file.parent().unwrap_or(file).to_owned();
        *self.lock().entry(folder.clone()).or_default() += 1;
        Using { tidy: Arc::clone(self), folder }
    }

    /// Removes the folders above a file that is gone, as far as they are empty and within `bucket`.
    pub(super) fn prune(&self, bucket: &Path, file: &Path) {
        let used = self.lock();
        for folder in file.ancestors().skip(1) {
            let within = folder != bucket && folder.starts_with(bucket);
            let wanted =
                used.range(folder.to_owned()..).next().is_some_and(|(next, _)| next.starts_with(folder));
            if !within || wanted || std::fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        let mut used = self.tidy.lock();
        if let Some(count) = used.get_mut(&self.folder) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.folder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_folders_go_unless_something_is_about_to_come() {
        let bucket = tempfile::tempdir().unwrap();
        let (bucket, tidy) = (bucket.path(), Arc::new(Tidy::default()));
        std::fs::create_dir_all(bucket.join("a/b/c")).unwrap();
        std::fs::create_dir_all(bucket.join("a/b2")).unwrap();
        let using = tidy.using(&bucket.join("a/b/new/file"));
        tidy.prune(bucket, &bucket.join("a/b/c/gone"));
        assert!(bucket.join("a/b").exists() && !bucket.join("a/b/c").exists());
        drop(using);
        tidy.prune(bucket, &bucket.join("a/b/gone"));
        assert!(!bucket.join("a/b").exists() && bucket.join("a/b2").exists());
        tidy.prune(bucket, &bucket.join("a/b2/gone"));
        assert!(!bucket.join("a").exists() && bucket.exists());
    }
}
