//! The Redis side of the queue: function libraries, one a layout version.

use crate::Error;
use crate::connection::Connection;

/// The layout this version writes.
pub const LAYOUT: u32 = 1;

/// The library's name in Redis.
const LIBRARY: &str = "uso_1";

/// One library in several files, each on top of those before it.
const SOURCE: &str = concat!(
    include_str!("../../../migrations/0001_jobs/base.lua"),
    include_str!("../../../migrations/0001_jobs/order.lua"),
    include_str!("../../../migrations/0001_jobs/submit.lua"),
    include_str!("../../../migrations/0001_jobs/lease.lua"),
    include_str!("../../../migrations/0001_jobs/ending.lua"),
    include_str!("../../../migrations/0001_jobs/batch.lua"),
    include_str!("../../../migrations/0001_jobs/reap.lua"),
    include_str!("../../../migrations/0001_jobs/steer.lua"),
    include_str!("../../../migrations/0001_jobs/look.lua"),
    include_str!("../../../migrations/0001_jobs/audit.lua"),
    include_str!("../../../migrations/0001_jobs/register.lua"),
);

/// Loads the functions of this version, replacing an older text of the same library. Several
/// processes may do so at once: each replacement is atomic and all write the same text.
pub(crate) async fn load(connection: &Connection) -> Result<(), Error> {
    let loaded: String =
        connection.run(redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(SOURCE)).await?;
    tracing::info!(library = loaded, "loaded the function library {loaded}");
    Ok(())
}

/// Brings the data of all shards to this version's layout, and the functions with it.
pub(crate) async fn run(connection: &Connection, roots: &[String]) -> Result<(), Error> {
    for root in roots {
        let key = format!("{root}:layout");
        let found: Option<u32> = connection.run(redis::cmd("GET").arg(&key)).await?;
        match found {
            Some(found) if found > LAYOUT => return Err(Error::NewerLayout { found, known: LAYOUT }),
            Some(_) => {}
            None => connection
                .run(redis::cmd("SET").arg(&key).arg(LAYOUT).arg("NX"))
                .await
                .map(|_: redis::Value| ())?,
        }
    }
    if is_current(connection).await? { Ok(()) } else { load(connection).await }
}

async fn is_current(connection: &Connection) -> Result<bool, Error> {
    let mut list = redis::cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg(LIBRARY).arg("WITHCODE");
    let libraries: redis::Value = connection.run(&list).await?;
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
