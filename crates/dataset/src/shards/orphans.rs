//! Finds and removes what lost workers left.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use uso_queue::BatchId;
use uso_store::{MultipartUpload, Store};

use crate::{Error, layout};

/// What the queue knows of a batch.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Numbers of shards that are committed, or about to be.
    pub shards: BTreeSet<u32>,
    /// Keys of the segments.
    pub segments: BTreeSet<String>,
    /// Keys of the parts of the index of rows.
    pub indexes: BTreeSet<String>,
    /// Uploads in parts that are about to be completed.
    pub uploads: BTreeSet<String>,
}

/// What nobody knows of any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Keys of objects.
    pub objects: Vec<String>,
    /// Uploads in parts.
    pub uploads: Vec<MultipartUpload>,
}

/// Finds shards, row files, statistics, segments, indexes and uploads in parts that the queue does not know and that are older than
/// `age`. Choose an age that no shard takes to be made.
///
/// # Errors
/// [`Error::Store`].
pub async fn find_orphans(
    store: &Store,
    batch: &BatchId,
    known: &Known,
    age: Duration,
) -> Result<Orphans, Error> {
    // What has no time may be new.
    let old = |written: Option<SystemTime>| {
        written.is_some_and(|written| written.elapsed().unwrap_or_default() >= age)
    };
    let prefix = layout::dataset(batch);
    let mut orphans = Orphans::default();
    for object in store.list(&prefix).await? {
        let unknown =
            shard_of(&object.key[prefix.len()..]).is_some_and(|shard| !known.shards.contains(&shard));
        if unknown && old(object.written) {
            orphans.objects.push(object.key);
        }
    }
    let segments = layout::working(batch) + "segments/";
    for (prefix, known) in [(segments, &known.segments), (layout::row_indexes(batch), &known.indexes)] {
        let listed = store.list(&prefix).await?.into_iter();
        let unknown = listed.filter(|object| !known.contains(&object.key) && old(object.written));
        orphans.objects.extend(unknown.map(|object| object.key));
    }
    for found in store.unfinished_uploads(&prefix).await? {
        if !known.uploads.contains(&found.upload.id) && old(found.begun) {
            orphans.uploads.push(found.upload);
        }
    }
    Ok(orphans)
}

/// Removes them. You can repeat the call.
///
/// # Errors
/// [`Error::Store`].
pub async fn remove_orphans(store: &Store, orphans: &Orphans) -> Result<(), Error> {
    store.delete_many(&orphans.objects).await?;
    for upload in &orphans.uploads {
        store.abort_upload(upload).await?;
    }
    Ok(())
}

/// The number of the shard that a file of a data set belongs to; none if it belongs to all.
pub(super) fn shard_of(name: &str) -> Option<u32> {
    let digits: String =
        name.strip_prefix("_meta/").unwrap_or(name).chars().take_while(char::is_ascii_digit).collect();
    let shard = digits.parse().ok()?;
    let own = [layout::shard(shard), layout::row_file(shard), layout::stats(shard)];
    own.iter().any(|own| own == name).then_some(shard)
}
