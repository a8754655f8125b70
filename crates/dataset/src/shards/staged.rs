//! Removes what workers wrote for the rows of a committed shard.

use uso_store::{Store, output_prefix};

use super::pictures::{key_of, objects_of};
use super::row::Extras;
use super::segments::read_segments;
use crate::Error;

/// Deletes pictures, thumbnails and sidecars of the rows of a committed shard; returns how many objects were named. You can
/// repeat the call.
///
/// # Errors
/// As [`read_segments`].
pub async fn remove_staged(store: &Store, segments: &[String]) -> Result<usize, Error> {
    let mut keys = Vec::new();
    for outcome in read_segments(store, segments).await? {
        let Some(output) = &outcome.output else { continue };
        let extras = Extras::of(output);
        let own = output_prefix(&outcome.job);
        let objects = objects_of(output, extras.thumbnail.as_deref());
        // A thumbnail may be named by its key alone.
        let named =
            objects.filter_map(|uri| if uri.contains("://") { key_of(store, uri) } else { Some(uri) });
        // Nothing but what the job itself wrote.
        keys.extend(named.filter(|key| key.starts_with(&own)).map(str::to_owned));
    }
    store.delete_many(&keys).await?;
    Ok(keys.len())
}
