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

/// What tells of all shards, as it was at one time.
struct Described {
    index: Index,
    index_text: Vec<u8>,
    card: Option<Vec<u8>>,
}

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
        let (listing, described) = self.listed(id).await?;
        folder::check(dir, id, &listing).await?;
        let files = listing.of_shards(described.as_ref().map(|described| &described.index));
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
        self.finish(&listing, described, dir, &bar, &mut counts).await?;
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
        described: Option<Described>,
        dir: &Path,
        bar: &ProgressBar,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        for file in listing.of_all() {
            ensure!(is_inside(&file.name), "the API lists a file with the name {:?}", file.name);
            counts.add(&fetch(&self.client, listing, &file, dir, bar).await?);
        }
        let Some(Described { index_text, card, .. }) = described else {
            tracing::warn!("no shard is described yet: there is no {}", layout::INDEX);
            return Ok(());
        };
        for (name, text) in [(layout::CARD, card), (layout::INDEX, Some(index_text))] {
            let Some(text) = text else { continue };
            save(&dir.join(name), &text)?;
            counts.add(&Fetched::New(text.len() as u64));
        }
        Ok(())
    }

    /// The files, and what tells of them: all shards of the index and of the card are among the files.
    async fn listed(&self, id: &str) -> anyhow::Result<(Listing, Option<Described>)> {
        for _ in 0..MOST_LISTINGS {
            let listing = Listing::read(&self.client, id).await?;
            let Some(index_text) = listing.text(&self.client, layout::INDEX).await? else {
                return Ok((listing, None));
            };
            // The card names its shards, too, and is written after the index: one of a later index would name shards that
            // are not pulled.
            let card = listing.text(&self.client, layout::CARD).await?;
            if listing.text(&self.client, layout::INDEX).await?.as_ref() != Some(&index_text) {
                continue;
            }
            let index: Index = serde_json::from_slice(&index_text)
                .with_context(|| format!("{} cannot be read", layout::INDEX))?;
            if index.shards.iter().all(|shard| listing.has(&shard.file)) {
                return Ok((listing, Some(Described { index, index_text, card })));
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
