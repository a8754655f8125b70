//! Removes what workers wrote for the rows of a committed shard.

use uso_store::{Store, output_prefix};

use super::pictures::key_of;
use super::segments::read_segments;
use crate::Error;

/// Deletes pictures and sidecars of the rows of a committed shard, whose thumbnails stay to be looked at; returns how many
/// objects were named. You can repeat the call.
///
/// # Errors
/// As [`read_segments`].
pub async fn remove_staged(store: &Store, segments: &[String]) -> Result<usize, Error> {
    let mut keys = Vec::new();
    for outcome in read_segments(store, segments).await? {
        let Some(output) = &outcome.output else { continue };
        let own = output_prefix(&outcome.job);
        let named = [&output.uri, &output.sidecar].into_iter().filter_map(|uri| key_of(store, uri));
        // Nothing but what the job itself wrote.
        keys.extend(named.filter(|key| key.starts_with(&own)).map(str::to_owned));
    }
    store.delete_many(&keys).await?;
    Ok(keys.len())
}
