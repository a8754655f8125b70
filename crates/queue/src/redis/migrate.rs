//! The Redis side of the queue: function libraries, one a layout version.

use std::sync::Arc;

use super::connection::{Connection, Library};
use super::node::Node;
use crate::Error;

/// The layout this version writes.
pub const LAYOUT: u32 = 1;

/// The library's name in Redis.
const LIBRARY: &str = "uso_1";

/// One library in several files, each on top of those before it.
const SOURCE: &str = concat!(
    include_str!("../../../../migrations/0001_jobs/base.lua"),
    include_str!("../../../../migrations/0001_jobs/answers.lua"),
    include_str!("../../../../migrations/0001_jobs/records.lua"),
    include_str!("../../../../migrations/0001_jobs/listing.lua"),
    include_str!("../../../../migrations/0001_jobs/change.lua"),
    include_str!("../../../../migrations/0001_jobs/counters.lua"),
    include_str!("../../../../migrations/0001_jobs/events.lua"),
    include_str!("../../../../migrations/0001_jobs/letters.lua"),
    include_str!("../../../../migrations/0001_jobs/hooks.lua"),
    include_str!("../../../../migrations/0001_jobs/deliveries.lua"),
    include_str!("../../../../migrations/0001_jobs/loras.lua"),
    include_str!("../../../../migrations/0001_jobs/suspects.lua"),
    include_str!("../../../../migrations/0001_jobs/turns.lua"),
    include_str!("../../../../migrations/0001_jobs/wakeups.lua"),
    include_str!("../../../../migrations/0001_jobs/rows.lua"),
    include_str!("../../../../migrations/0001_jobs/waiting.lua"),
    include_str!("../../../../migrations/0001_jobs/groups.lua"),
    include_str!("../../../../migrations/0001_jobs/outcome.lua"),
    include_str!("../../../../migrations/0001_jobs/bulk_window.lua"),
    include_str!("../../../../migrations/0001_jobs/leases.lua"),
    include_str!("../../../../migrations/0001_jobs/choice.lua"),
    include_str!("../../../../migrations/0001_jobs/rate.lua"),
    include_str!("../../../../migrations/0001_jobs/submit.lua"),
    include_str!("../../../../migrations/0001_jobs/stored.lua"),
    include_str!("../../../../migrations/0001_jobs/claim.lua"),
    include_str!("../../../../migrations/0001_jobs/renewal.lua"),
    include_str!("../../../../migrations/0001_jobs/watch.lua"),
    include_str!("../../../../migrations/0001_jobs/progress.lua"),
    include_str!("../../../../migrations/0001_jobs/settlement.lua"),
    include_str!("../../../../migrations/0001_jobs/ending.lua"),
    include_str!("../../../../migrations/0001_jobs/batch.lua"),
    include_str!("../../../../migrations/0001_jobs/datasets.lua"),
    include_str!("../../../../migrations/0001_jobs/dataset_tasks.lua"),
    include_str!("../../../../migrations/0001_jobs/reap.lua"),
    include_str!("../../../../migrations/0001_jobs/control.lua"),
    include_str!("../../../../migrations/0001_jobs/fleet.lua"),
    include_str!("../../../../migrations/0001_jobs/view.lua"),
    include_str!("../../../../migrations/0001_jobs/list.lua"),
    include_str!("../../../../migrations/0001_jobs/browse.lua"),
    include_str!("../../../../migrations/0001_jobs/place.lua"),
    include_str!("../../../../migrations/0001_jobs/stats.lua"),
    include_str!("../../../../migrations/0001_jobs/keys.lua"),
    include_str!("../../../../migrations/0001_jobs/audit.lua"),
);

/// What a server without the functions of this version is given.
pub(crate) fn library() -> Library {
    Library { text: SOURCE, mark: format!("uso_{LAYOUT}_mark") }
}

/// Brings the data of all shards to this version's layout, and the functions with it.
pub(crate) async fn run(connection: &Connection, roots: &[String]) -> Result<(), Error> {
    // One of several processes that disagree is first, and the others are refused.
    set_new(connection, &shards_key(&roots[0]), roots.len()).await?;
    check(connection, roots).await?;
    for root in roots {
        set_new(connection, &layout_key(root), LAYOUT).await?;
    }
    for node in connection.primaries().await? {
        if !is_current(connection, &node).await? {
            connection.load_library(&node).await?;
        }
    }
    Ok(())
}

/// Whether there is data of any layout in every shard.
pub(crate) async fn has_layout(connection: &Connection, roots: &[String]) -> Result<bool, Error> {
    for root in roots {
        if connection.call::<Option<u32>>(redis::cmd("GET").arg(layout_key(root))).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses data of a newer layout, and to work with another number of shards than the data has; new data
/// has neither yet.
pub(crate) async fn check(connection: &Connection, roots: &[String]) -> Result<(), Error> {
    for root in roots {
        let found: Option<u32> = connection.call(redis::cmd("GET").arg(layout_key(root))).await?;
        if let Some(found) = found.filter(|found| *found > LAYOUT) {
            return Err(Error::NewerLayout { found, known: LAYOUT });
        }
    }
    let asked = roots.len() as u16;
    match connection.call(redis::cmd("GET").arg(shards_key(&roots[0]))).await? {
        Some(found) if found != asked => Err(Error::WrongShards { found, asked }),
        _ => Ok(()),
    }
}

fn layout_key(root: &str) -> String {
    format!("{root}:layout")
}

/// Only the first shard has it.
fn shards_key(root: &str) -> String {
    format!("{root}:shards")
}

async fn set_new(connection: &Connection, key: &str, value: impl redis::ToRedisArgs) -> Result<(), Error> {
    connection.call(redis::cmd("SET").arg(key).arg(value).arg("NX")).await.map(|_: redis::Value| ())
}

async fn is_current(connection: &Connection, node: &Arc<Node>) -> Result<bool, Error> {
    let mut list = redis::cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg(LIBRARY).arg("WITHCODE");
    let libraries: redis::Value = connection.ask(node, &list).await?;
    Ok(holds_text(&libraries, SOURCE))
}

/// Whether a text is somewhere in an answer; the place differs between protocol versions.
fn holds_text(value: &redis::Value, text: &str) -> bool {
    match value {
        redis::Value::BulkString(bytes) => bytes == text.as_bytes(),
        redis::Value::Array(values) | redis::Value::Set(values) => {
            values.iter().any(|value| holds_text(value, text))
        }
        redis::Value::Map(pairs) => pairs.iter().any(|(_, value)| holds_text(value, text)),
        _ => false,
    }
}
