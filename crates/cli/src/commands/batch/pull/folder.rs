//! Whose folder it is: files of another data set would be overwritten, or stay among those of this one.

use std::io;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use uso_dataset::layout;

use super::fetch::is_right;
use super::listing::Listing;

/// Refuses a folder that holds another data set: by its index, or, where an earlier run did not come to that, by its tars.
pub(super) async fn check(dir: &Path, id: &str, listing: &Listing) -> anyhow::Result<()> {
    let shown = dir.display();
    if let Some(batch) = batch_of(&dir.join(layout::INDEX)).await? {
        ensure!(batch == id, "{shown} holds the data set {batch}, not {id}; give another folder");
        return Ok(());
    }
    for (place, name) in tars(dir).await.with_context(|| format!("cannot read {shown}"))?.iter().enumerate() {
        let is_own = match listing.file(name) {
            // It tells for all: to hash each of them here would take long.
            Some(file) if place == 0 => is_right(&dir.join(name), file)
                .await
                .with_context(|| format!("cannot read {shown}/{name}"))?,
            file => file.is_some(),
        };
        ensure!(is_own, "{shown} has a {name} that is not one of the data set {id}; give another folder");
    }
    Ok(())
}

/// The batch that an index names; none if there is no index, or one that cannot be understood.
async fn batch_of(index: &Path) -> anyhow::Result<Option<String>> {
    let bytes = match tokio::fs::read(index).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read {}", index.display()))?,
    };
    let index: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(index["batch"].as_str().map(str::to_owned))
}

/// Names of the tars right in a folder, in order.
async fn tars(dir: &Path) -> io::Result<Vec<String>> {
    let (mut entries, mut names) = (tokio::fs::read_dir(dir).await?, Vec::new());
    while let Some(entry) = entries.next_entry().await? {
        names.extend(entry.file_name().into_string().ok().filter(|name| name.ends_with(".tar")));
    }
    names.sort();
    Ok(names)
}
