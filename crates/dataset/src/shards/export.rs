//! Writes a data set in other layouts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::index::Index;
use super::list::List;
use super::place::{Place, blocking};
use super::row::Row;
use super::samples::{Sample, each_sample};
use crate::{Error, layout};

/// A layout of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportLayout {
    /// ImageFolder of Hugging Face: pictures, and a `metadata.jsonl` with a row each, or a `metadata.parquet` where that would
    /// be longer than 10 MiB: readers learn the types of its columns from the first of them. With a split, each side is a
    /// folder of its own, `train` and `validation`, with a `metadata.parquet`: readers refuse two lists whose types seem to
    /// differ because a column is null in one of them. Without a split, all is in a folder `train` if readers would take a
    /// picture's name for that of a split, such as `test-1.png`.
    ImageFolder,
    /// Pictures, each with its prompt and its row beside it: `key.png`, `key.txt`, `key.json`.
    Files,
}

/// Writes the committed shards of the data set in `from`, by its index, into the folder `to`, which must be empty or not
/// there; returns how many rows there are. From the store, shards are read as they come and lie nowhere in between.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read or written, [`Error::Unreadable`] for an index that lists files elsewhere,
/// [`Error::Unreadable`] or [`Error::Damaged`] for a shard that is
/// not what it was, [`Error::Store`].
pub async fn export(from: &Place, to: &Path, layout: ExportLayout) -> Result<u64, Error> {
    let unreadable = |reason: String| Error::Unreadable { object: layout::INDEX.into(), reason };
    let index = from.read(layout::INDEX).await?.ok_or_else(|| unreadable("it is not there".into()))?;
    let index: Index = serde_json::from_slice(&index).map_err(|error| unreadable(error.to_string()))?;
    if let Some(shard) = index.shards.iter().find(|shard| !layout::is_inside(&shard.file)) {
        return Err(unreadable(format!("it lists a file with the name {:?}", shard.file)));
    }
    let folder = to.to_owned();
    let mut output = blocking(move || Output::new(folder, layout)).await??;
    for shard in index.shards {
        let file = shard.file.clone();
        let (returned, written) = from
            .stream(&file, move |tar| {
                let written = output.shard(tar, &shard.file, shard.rows);
                (output, written)
            })
            .await?;
        output = returned;
        written?;
    }
    blocking(move || output.finish()).await?
}

struct Output {
    folder: PathBuf,
    layout: ExportLayout,
    /// The list of each folder.
    lists: BTreeMap<PathBuf, List>,
    /// Whether readers take the name of a picture for that of a split.
    names_a_split: bool,
    rows: u64,
}

impl Output {
    fn new(folder: PathBuf, layout: ExportLayout) -> Result<Self, Error> {
        let failed = |source| Error::File { path: folder.display().to_string(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        if std::fs::read_dir(&folder).map_err(failed)?.next().is_some() {
            return Err(failed(std::io::Error::other("the folder is not empty")));
        }
        Ok(Self { folder, layout, lists: BTreeMap::new(), names_a_split: false, rows: 0 })
    }

    fn shard(&mut self, tar: &mut dyn std::io::Read, file: &str, rows: u64) -> Result<(), Error> {
        let (before, mut failed) = (self.rows, None);
        let read = each_sample(tar, |sample| match self.sample(sample, file) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let unreadable = |reason: String| Error::Unreadable { object: file.to_owned(), reason };
        read.map_err(|error| unreadable(error.to_string()))?;
        match self.rows - before {
            found if found == rows => Ok(()),
            found => Err(unreadable(format!("it has {found} rows; by the index it has {rows}"))),
        }
    }

    fn sample(&mut self, sample: Sample, file: &str) -> Result<(), Error> {
        let unreadable =
            |reason: String| Error::Unreadable { object: format!("{file}: {}", sample.stem), reason };
        let row = sample.row().map_err(unreadable)?;
        let (name, picture) =
            sample.picture.as_ref().ok_or_else(|| unreadable("it has no picture".into()))?;
        if hex::encode(Sha256::digest(picture)) != row.sha256 {
            return Err(Error::Damaged { object: format!("{file}: {name}") });
        }
        match self.layout {
            ExportLayout::ImageFolder => {
                let folder = self.side(&row)?;
                write_new(&folder.join(name), picture)?;
                self.list(folder, name, &row)?;
                self.names_a_split |= names_a_split(name);
            }
            ExportLayout::Files => {
                write_new(&self.folder.join(name), picture)?;
                write_new(&self.folder.join(format!("{}.txt", sample.stem)), row.prompt.as_bytes())?;
                let json = sample.json.as_deref().unwrap_or_default();
                write_new(&self.folder.join(format!("{}.json", sample.stem)), json)?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The folder of a row's side.
    fn side(&self, row: &Row) -> Result<PathBuf, Error> {
        let Some(split) = &row.split else { return Ok(self.folder.clone()) };
        let known = [super::split::TRAIN, super::split::VALIDATION];
        let side = known.into_iter().find(|side| side == split).ok_or_else(|| Error::Unreadable {
            object: row.file.clone(),
            reason: format!("{split:?} is no side of a split"),
        })?;
        let folder = self.folder.join(side);
        let failed = |source| Error::File { path: folder.display().to_string(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        Ok(folder)
    }

    fn list(&mut self, folder: PathBuf, name: &str, row: &Row) -> Result<(), Error> {
        let typed = folder != self.folder;
        let failed = |path: &Path, source| Error::File { path: path.display().to_string(), source };
        let mut line = Map::from_iter([("file_name".to_owned(), Value::from(name))]);
        if let Ok(Value::Object(fields)) = serde_json::to_value(row) {
            line.extend(fields);
        }
        let list = match self.lists.entry(folder) {
            Entry::Occupied(list) => list.into_mut(),
            Entry::Vacant(place) => {
                let list = List::new(place.key(), typed).map_err(|error| failed(place.key(), error))?;
                place.insert(list)
            }
        };
        list.add(line.into()).map_err(|error| failed(&self.folder, error))
    }

    fn finish(self) -> Result<u64, Error> {
        let is_misread = self.names_a_split && self.lists.keys().eq([&self.folder]);
        for (folder, list) in self.lists {
            let failed = |source| Error::File { path: folder.display().to_string(), source };
            list.finish(&folder).map_err(failed)?;
        }
        if is_misread {
            move_into(&self.folder, super::split::TRAIN)?;
        }
        Ok(self.rows)
    }
}

/// Words that Hugging Face's reader looks for in the names of files where no folder has such a name: it reads nothing but
/// the files that have one, and not the list.
const SPLIT_WORDS: [&str; 10] =
    ["train", "training", "validation", "valid", "dev", "val", "test", "testing", "eval", "evaluation"];

fn names_a_split(file: &str) -> bool {
    let is_between = |letter: char| "-._ ".contains(letter) || letter.is_ascii_digit();
    file.split(is_between).any(|word| SPLIT_WORDS.contains(&word))
}

/// Moves all files of a folder into a new one in it.
fn move_into(folder: &Path, name: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: folder.display().to_string(), source };
    let entries = std::fs::read_dir(folder).map_err(failed)?.collect::<std::io::Result<Vec<_>>>();
    let (entries, inside) = (entries.map_err(failed)?, folder.join(name));
    std::fs::create_dir(&inside).map_err(failed)?;
    for entry in entries {
        std::fs::rename(entry.path(), inside.join(entry.file_name())).map_err(failed)?;
    }
    Ok(())
}

/// Writes a file that is not there yet: two rows that would share one are an error.
fn write_new(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.display().to_string(), source };
    let mut file = File::create_new(path).map_err(failed)?;
    file.write_all(content).map_err(failed)
}
