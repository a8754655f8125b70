//! All weight files of a model folder, opened and grouped into checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::small::folder;
use crate::ModelFiles;
use crate::files::Listing;
use crate::weights::WeightFile;

/// What was found in a model folder.
pub(super) struct Catalogue {
    /// Files that belong together: one, or the shards of one checkpoint.
    pub(super) groups: Vec<Vec<Arc<WeightFile>>>,
    /// Files that could not be read as weights, folders that could not be read, and groups that lack a shard, with the
    /// reason.
    pub(super) unreadable: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Catalogue {
    /// Opens all weight files that were found.
    pub(super) fn open(files: &ModelFiles, Listing { paths, unreadable }: Listing) -> Self {
        let mut catalogue = Self { groups: Vec::new(), unreadable };
        let mut grouped = BTreeSet::new();
        for names in shard_groups(files, &paths, &mut catalogue.unreadable) {
            grouped.extend(names.iter().cloned());
            catalogue.add(files, names);
        }
        for path in paths.iter().filter(|path| is_weight_file(path) && !grouped.contains(*path)) {
            catalogue.add(files, vec![path.clone()]);
        }
        catalogue
    }

    fn add(&mut self, files: &ModelFiles, paths: Vec<String>) {
        let mut group = Vec::new();
        for path in paths {
            match open(files, &path) {
                Ok(file) => group.push(Arc::new(file)),
                Err(reason) => {
                    self.unreadable.insert(path, reason);
                    return;
                }
            }
        }
        self.groups.push(group);
    }
}

/// Opens one weight file of the model.
pub(super) fn open(files: &ModelFiles, path: &str) -> Result<WeightFile, String> {
    let source = files.source(path).map_err(|error| error.to_string())?;
    let place = match files {
        ModelFiles::Folder(folder) => folder.join(path),
        ModelFiles::Bundled => Path::new(path).to_owned(),
    };
    WeightFile::open(path.to_owned(), source, &place)
}

fn is_weight_file(path: &str) -> bool {
    [".safetensors", ".sft", ".gguf", ".bin", ".pt", ".pth"].iter().any(|end| path.ends_with(end))
}

/// Groups of shards: files that an index lists, and files that are numbered `-00001-of-00002`.
fn shard_groups(
    files: &ModelFiles,
    paths: &[String],
    unreadable: &mut BTreeMap<String, String>,
) -> Vec<Vec<String>> {
    let known: BTreeSet<&String> = paths.iter().collect();
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for index in paths.iter().filter(|path| path.ends_with(".index.json")) {
        match indexed(files, index) {
            Ok(shards) => drop(groups.insert(index.clone(), shards)),
            Err(reason) => drop(unreadable.insert(index.clone(), reason)),
        }
    }
    let mut numbered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let in_index: BTreeSet<String> = groups.values().flatten().cloned().collect();
    for path in paths.iter().filter(|path| is_weight_file(path) && !in_index.contains(*path)) {
        if let Some(all) = shards(path) {
            numbered.entry(path.clone()).or_insert(all);
        }
    }
    groups.extend(numbered);
    let whole: BTreeSet<BTreeSet<String>> =
        groups.into_values().filter(|shards| !shards.is_empty()).collect();
    let mut complete = Vec::new();
    for shards in whole {
        match shards.iter().find(|shard| !known.contains(shard)) {
            // An index without any of its shards is a leftover of another download.
            Some(_) if shards.iter().all(|shard| !known.contains(shard)) => {}
            Some(lost) => drop(unreadable.insert(lost.clone(), "shard not found".into())),
            None => complete.push(shards.into_iter().collect()),
        }
    }
    complete
}

fn indexed(files: &ModelFiles, index: &str) -> Result<BTreeSet<String>, String> {
    let ShardIndex { weight_map } = files.read_json(index).map_err(|error| error.to_string())?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    names
        .into_iter()
        .map(|name| {
            // An index names files in its own folder: any other path could lead outside the model.
            if Path::new(&name).components().count() != 1 || name.starts_with('.') {
                return Err(format!("shard {name:?} is not a file name"));
            }
            Ok(format!("{}{name}", folder(index)))
        })
        .collect()
}

/// All shards of the checkpoint that a numbered file belongs to.
fn shards(path: &str) -> Option<BTreeSet<String>> {
    const MOST: usize = 1000;
    let (stem, ending) = path.rsplit_once('.')?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let all: usize = count.parse().ok().filter(|all| (1..=MOST).contains(all))?;
    (is_number(number) && is_number(count))
        .then(|| (1..=all).map(|number| format!("{stem}-{number:05}-of-{count}.{ending}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_files_belong_together() {
        let all = shards("t5-xxl/model-00002-of-00002.safetensors").unwrap();
        let names = ["t5-xxl/model-00001-of-00002.safetensors", "t5-xxl/model-00002-of-00002.safetensors"];
        assert_eq!(all, names.map(String::from).into());
        for other in
            ["flux1-dev.safetensors", "model-1-of-2.bin", "model-00001-of-99999.bin", "a-00001-of-00000.bin"]
        {
            assert_eq!(shards(other), None, "{other}");
        }
    }
}
