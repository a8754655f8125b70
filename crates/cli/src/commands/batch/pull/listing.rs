//! The files of a data set that are committed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use uso_dataset::layout;
use uso_dataset::shards::Index;

use crate::client::Client;

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Of its bytes, in hexadecimal; files that may be written anew have none.
    #[serde(default)]
    pub(super) sha256: Option<String>,
    /// A link, which expires.
    pub(super) url: String,
}

/// The files of a data set that are committed, by their names.
pub(super) struct Listing {
    id: String,
    files: BTreeMap<String, RemoteFile>,
}

impl Listing {
    pub(super) async fn read(client: &Client, id: &str) -> anyhow::Result<Self> {
        let (path, mut files, mut broken) = (format!("/v1/batches/{id}/files"), BTreeMap::new(), None);
        let add = |file| {
            match serde_json::from_value::<RemoteFile>(file) {
                Ok(file) => drop(files.insert(file.name.clone(), file)),
                Err(error) => broken = Some(error),
            }
            broken.is_some()
        };
        client.each_listed(&path, "files", add).await?;
        match broken {
            Some(error) => Err(error).context("the API's list of files is not understood"),
            None => Ok(Self { id: id.to_owned(), files }),
        }
    }

    /// The file of this name, if there is one.
    pub(super) fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.files.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// What a small file that may be written anew holds now, if it is there.
    pub(super) async fn text(&self, client: &Client, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = self.files.get(name) else { return Ok(None) };
        let read = async || {
            let answer = client.link(&file.url).send().await?.error_for_status()?;
            anyhow::Ok(answer.bytes().await?.to_vec())
        };
        client.patiently(read).await.map(Some).map_err(without_link)
    }

    /// A new link to a file.
    pub(super) async fn link(&self, client: &Client, name: &str) -> anyhow::Result<String> {
        let file = Self::read(client, &self.id).await?.files.remove(name);
        file.map(|file| file.url).with_context(|| format!("{name} is no longer there"))
    }

    /// Files of the shards that the index lists; of all shards without one.
    pub(super) fn of_shards(&self, index: Option<&Index>) -> Vec<RemoteFile> {
        let listed = index.map(|index| {
            let names = index
                .shards
                .iter()
                .flat_map(|shard| [shard.file.clone(), shard.row_file.clone(), layout::stats(shard.shard)]);
            names.collect::<BTreeSet<String>>()
        });
        let wanted = |name: &str| listed.as_ref().is_none_or(|listed| listed.contains(name));
        let files = self.files.values().filter(|file| is_of_shard(&file.name) && wanted(&file.name));
        files.cloned().collect()
    }

    /// Files that cover all shards, without the index and the card.
    pub(super) fn of_all(&self) -> Vec<RemoteFile> {
        let is_read = |name: &str| name == layout::INDEX || name == layout::CARD;
        let files = self.files.values().filter(|file| !is_of_shard(&file.name) && !is_read(&file.name));
        files.cloned().collect()
    }
}

fn is_of_shard(name: &str) -> bool {
    name.ends_with(".tar") || name.starts_with("_meta/")
}

/// The links are secret while they are valid.
fn without_link(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<reqwest::Error>() {
        Ok(error) => error.without_url().into(),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let file =
            |name: &&str| RemoteFile { name: (*name).into(), bytes: 1, sha256: None, url: String::new() };
        let files = names.iter().map(|name| ((*name).to_owned(), file(name))).collect();
        Listing { id: "0-a".into(), files }
    }

    fn names(files: &[RemoteFile]) -> Vec<&str> {
        files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn only_shards_of_the_index_are_pulled_and_what_tells_of_them_comes_last() {
        let all = listing(&[
            "00000.tar",
            "00001.tar",
            "README.md",
            "_meta/00000.parquet",
            "_meta/00000_stats.json",
            "_meta/00001.parquet",
            "_meta/00001_stats.json",
            "index.json",
            "sample.jpg",
        ]);
        let index: Index = serde_json::from_value(json!({
            "batch": "0-a", "rows": 1, "bytes": 1, "total": {},
            "shards": [{ "shard": 0, "file": "00000.tar", "rows": 1, "bytes": 1, "sha256": "", "row_file":
                "_meta/00000.parquet", "row_file_bytes": 1, "row_file_sha256": "" }],
        }))
        .unwrap();
        let expected = ["00000.tar", "_meta/00000.parquet", "_meta/00000_stats.json"];
        assert_eq!(names(&all.of_shards(Some(&index))), expected);
        assert_eq!(all.of_shards(None).len(), 6);
        // The card and the index are read together.
        assert_eq!(names(&all.of_all()), ["sample.jpg"]);
        assert!(all.has("00001.tar") && !all.has("00002.tar"));
    }
}
