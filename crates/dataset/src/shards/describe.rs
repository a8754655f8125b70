//! Writes what covers all shards of a data set: index, card and a picture of some samples.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use uso_queue::BatchId;
use uso_store::Store;

use super::card::{About, card};
use super::hashes::Hashes;
use super::index::Index;
use super::place::{Place, blocking};
use super::sample::{SAMPLES, sample_grid};
use super::samples::each_sample;
use super::stats::Stats;
use crate::{Error, layout};

/// Name of the picture of some samples.
const SAMPLE: &str = "sample.webp";

/// Writes index, card and the picture of the first samples of a batch's data set, for its committed shards. Call it after
/// each commit, by one process at a time, and with the same `hashes` again: it reads less then.
///
/// # Errors
/// [`Error::Unreadable`] for a committed shard without statistics, [`Error::Store`].
pub async fn describe(
    store: &Store,
    batch: &BatchId,
    committed: &BTreeSet<u32>,
    about: &About,
    hashes: &mut Hashes,
) -> Result<Index, Error> {
    let place = Place::of_batch(store.clone(), batch);
    let prefix = layout::dataset(batch);
    let mut index = Index::of(batch, stats_of(&place, committed).await?);
    index.near_doubles = Some(hashes.near_doubles(&place, &index.shards).await?);
    let sample = sample(store, &place, &prefix, &index).await?;
    let card = card(&index, about, sample)?;
    let json = serde_json::to_vec_pretty(&index)
        .map_err(|error| Error::Unreadable { object: layout::INDEX.into(), reason: error.to_string() })?;
    store.put(&format!("{prefix}{}", layout::INDEX), "application/json", json.into()).await?;
    store.put(&format!("{prefix}{}", layout::CARD), "text/markdown; charset=utf-8", card.into()).await?;
    Ok(index)
}

/// The statistics of these shards; those that the last index has are not read again.
async fn stats_of(place: &Place, committed: &BTreeSet<u32>) -> Result<Vec<Stats>, Error> {
    let last = place.read(layout::INDEX).await?;
    // One that cannot be read is written anew.
    let last: Option<Index> = last.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let shards = last.map(|index| index.shards).unwrap_or_default();
    let mut known: BTreeMap<u32, Stats> = shards.into_iter().map(|stats| (stats.shard, stats)).collect();
    let mut found = Vec::new();
    for shard in committed {
        let stats = match known.remove(shard) {
            Some(stats) => stats,
            None => read_stats(place, &layout::stats(*shard)).await?,
        };
        found.push(stats);
    }
    Ok(found)
}

async fn read_stats(place: &Place, name: &str) -> Result<Stats, Error> {
    let unreadable = |reason: String| Error::Unreadable { object: name.to_owned(), reason };
    let bytes = place.read(name).await?.ok_or_else(|| unreadable("it is not there".into()))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
}

/// Makes the picture of the first samples unless it is there; tells whether it is there now.
async fn sample(store: &Store, place: &Place, prefix: &str, index: &Index) -> Result<bool, Error> {
    let key = format!("{prefix}{SAMPLE}");
    if store.head(&key).await?.is_some() {
        return Ok(true);
    }
    let Some(first) = index.shards.first() else { return Ok(false) };
    let pictures = place.stream(&first.file, first_pictures).await?;
    match blocking(move || sample_grid(&pictures)).await? {
        Some(grid) => store.put(&key, "image/webp", grid.into()).await.map(|_| true).map_err(Error::from),
        None => Ok(false),
    }
}

fn first_pictures(tar: &mut dyn std::io::Read) -> Vec<Vec<u8>> {
    let mut pictures = Vec::new();
    let read = each_sample(tar, |sample| {
        pictures.extend(sample.picture.map(|(_, picture)| picture));
        if pictures.len() < SAMPLES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if let Err(error) = read {
        // A card with fewer pictures is better than none; verification finds what is wrong.
        tracing::warn!(%error, "a shard cannot be read to the end");
    }
    pictures
}
