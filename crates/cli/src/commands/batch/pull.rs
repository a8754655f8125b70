//! `uso batch pull`: downloads what the index lists, several files at a time.

mod fetch;
mod folder;
mod listing;

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use indicatif::{DecimalBytes, ProgressBar};
use serde_json::json;
use uso_dataset::layout::{self, is_inside};
use uso_dataset::shards::Index;

use self::fetch::{Fetched, fetch};
use self::listing::Listing;
use super::Batches;
use crate::args::PullArgs;
use crate::commands::print::safe_lines;
use crate::commands::save;
use crate::progress;

/// Files that are downloaded at once.
const AT_ONCE: usize = 4;
/// How often files are listed anew because the index has grown meanwhile.
const MOST_LISTINGS: u32 = 5;

/// How many files were downloaded, and how many were there.
#[derive(Default)]
struct Counts {
    fetched: u64,
    bytes: u64,
    kept: u64,
}

impl Batches {
    pub(super) async fn pull(&self, args: &PullArgs) -> anyhow::Result<()> {
        let id = self.id(&args.which.batch).await?;
        tokio::select! {
            pulled = self.pull_into(&id, &args.dir) => pulled,
            _ = tokio::signal::ctrl_c() => bail!("stopped; run the same command to go on"),
        }
    }

    async fn pull_into(&self, id: &str, dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let (listing, index) = self.listed(id).await?;
        folder::check(dir, id, &listing).await?;
        let files = listing.of_shards(index.as_ref().map(|(index, _)| index));
        for file in &files {
            ensure!(is_inside(&file.name), "the API lists a file with the name {:?}", file.name);
        }
        let bar = progress::bytes(files.iter().map(|file| file.bytes).sum(), "pulling");
        let mut counts = Counts::default();
        let fetches = files.iter().map(|file| fetch(&self.client, &listing, file, dir, &bar));
        let mut done = std::pin::pin!(futures::stream::iter(fetches).buffer_unordered(AT_ONCE));
        while let Some(fetched) = done.try_next().await? {
            counts.add(&fetched);
        }
        self.finish(&listing, index, dir, &bar, &mut counts).await?;
        bar.finish_and_clear();
        let Counts { fetched, bytes, kept } = counts;
        let (bytes_text, all) = (DecimalBytes(bytes), fetched + kept);
        let text =
            format!("{}: {all} files, {fetched} fetched ({bytes_text}), {kept} were there", dir.display());
        let document = json!({ "id": id, "folder": dir, "fetched": fetched, "bytes": bytes, "kept": kept });
        self.answer(&document, &safe_lines(&text))
    }

    /// Files that cover all shards. They come last, so that a folder with an index has what the index lists.
    async fn finish(
        &self,
        listing: &Listing,
        index: Option<(Index, Vec<u8>)>,
        dir: &Path,
        bar: &ProgressBar,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        for file in listing.of_all() {
            ensure!(is_inside(&file.name), "the API lists a file with the name {:?}", file.name);
            counts.add(&fetch(&self.client, listing, &file, dir, bar).await?);
        }
        if let Some((_, bytes)) = index {
            save(&dir.join(layout::INDEX), &bytes)?;
            counts.add(&Fetched::New(bytes.len() as u64));
        } else {
            tracing::warn!("no shard is described yet: there is no {}", layout::INDEX);
        }
        Ok(())
    }

    /// The files, and the index with its text: all of its shards are among the files.
    async fn listed(&self, id: &str) -> anyhow::Result<(Listing, Option<(Index, Vec<u8>)>)> {
        for _ in 0..MOST_LISTINGS {
            let listing = Listing::read(&self.client, id).await?;
            let Some(bytes) = listing.index(&self.client).await? else { return Ok((listing, None)) };
            let index: Index = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} cannot be read", layout::INDEX))?;
            if index.shards.iter().all(|shard| listing.has(&shard.file)) {
                return Ok((listing, Some((index, bytes))));
            }
        }
        bail!("the index lists shards that the API does not; try again in a minute")
    }
}

impl Counts {
    fn add(&mut self, fetched: &Fetched) {
        match fetched {
            Fetched::New(bytes) => {
                self.fetched += 1;
                self.bytes += bytes;
            }
            Fetched::WasThere => self.kept += 1,
        }
    }
}

#[cfg(test)]
mod tests;
