//! Which objects a folder has under a prefix.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::long_keys::FOLDER;

/// An object.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) path: PathBuf,
}

/// A part of a list.
#[derive(Default)]
pub(super) struct Page {
    pub(super) objects: Vec<Entry>,
    /// What keys have in common up to a delimiter.
    pub(super) prefixes: BTreeSet<String>,
    /// Where to go on; none at the end.
    pub(super) next: Option<String>,
}

/// Where s3s-fs notes what an object has beside its bytes: metadata, and tag and checksums.
pub(super) fn sidecars(root: &Path, bucket: &str, place: &str) -> [PathBuf; 2] {
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let stem = format!(".bucket-{}.object-{}", encoded(bucket), encoded(place));
    ["metadata", "internal"].map(|kind| root.join(format!("{stem}.{kind}.json")))
}

/// All objects of a bucket whose keys begin with `prefix`, in their order. What lies outside of the folder that
/// the prefix names is not looked at. `long` are those that lie elsewhere.
pub(super) fn entries(bucket: &Path, prefix: &str, long: Vec<(String, String)>) -> io::Result<Vec<Entry>> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found: Vec<Entry> =
        long.into_iter().map(|(key, place)| Entry { key, path: bucket.join(place) }).collect();
    let mut folders = Vec::new();
    // A key with such parts lies under its digest.
    if folder.is_empty() || folder.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        folders.push((bucket.join(folder), folder.to_owned()));
    }
    while let Some((path, name)) = folders.pop() {
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            // It may have been pruned meanwhile.
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(file) = entry.file_name().into_string() else { continue };
            if name.is_empty() && file == FOLDER {
                continue;
            }
            let key = if name.is_empty() { file } else { format!("{name}/{file}") };
            let is_folder = match entry.file_type()? {
                kind if kind.is_symlink() => {
                    std::fs::metadata(entry.path()).is_ok_and(|about| about.is_dir())
                }
                kind => kind.is_dir(),
            };
            if !is_folder && key.starts_with(prefix) {
                found.push(Entry { path: entry.path(), key });
            } else if is_folder && (key.starts_with(prefix) || prefix.starts_with(&key)) {
                folders.push((entry.path(), key));
            }
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// At most `most` of what comes behind `after`.
pub(super) fn page(
    entries: Vec<Entry>,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&str>,
    most: usize,
) -> Page {
    let mut page = Page::default();
    let mut last = None;
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    for entry in entries {
        let rest = entry.key.strip_prefix(prefix).unwrap_or_default();
        let shared = delimiter.and_then(|delimiter| {
            let end = rest.find(delimiter)? + delimiter.len();
            Some(format!("{prefix}{}", &rest[..end]))
        });
        let name = shared.as_ref().unwrap_or(&entry.key);
        if after.is_some_and(|after| name.as_str() <= after) || page.prefixes.contains(name) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == most {
            page.next = last;
            return page;
        }
        last = Some(name.clone());
        match shared {
            Some(shared) => drop(page.prefixes.insert(shared)),
            None => page.objects.push(entry),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries_of(keys: &[&str]) -> Vec<Entry> {
        keys.iter().map(|key| Entry { key: (*key).into(), path: PathBuf::new() }).collect()
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let keys = ["a/1", "a/2", "b", "c/1", "d"];
        for delimiter in [None, Some("/")] {
            let (mut seen, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = page(entries_of(&keys), "", delimiter, after.as_deref(), 1);
                seen.extend(page.objects.into_iter().map(|entry| entry.key).chain(page.prefixes));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let expected: &[&str] = if delimiter.is_some() { &["a/", "b", "c/", "d"] } else { &keys };
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_list_reads_only_the_folder_that_its_prefix_names() {
        let bucket = tempfile::tempdir().unwrap();
        for key in ["jobs/a/1/0.png", "jobs/ab/1/0.png", "other"] {
            let path = bucket.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let keys = |prefix: &str| {
            let found = entries(bucket.path(), prefix, Vec::new()).unwrap();
            found.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(""), ["jobs/a/1/0.png", "jobs/ab/1/0.png", "other"]);
        assert_eq!(keys("jobs/a/"), ["jobs/a/1/0.png"]);
        assert_eq!(keys("jobs/a"), ["jobs/a/1/0.png", "jobs/ab/1/0.png"]);
        assert_eq!(keys("jobs/a/1/0"), ["jobs/a/1/0.png"]);
        assert_eq!(keys("jobs/../"), [""; 0]);
        assert_eq!(keys("none/"), [""; 0]);
    }
}
