//! A closed shard becomes a tar.

use uso_queue::{DatasetTask, Intent, Queue};
use uso_store::Store;

use super::{segments, sweep};
use crate::shards::{self, Shard, Stats};
use crate::{Error, Settings};

/// Makes a shard of a data set, commits it and removes what was staged for it. The task must be kept by the caller all the
/// while: drop the call once it is lost.
///
/// # Errors
/// [`Error::Queue`], [`Error::Store`], [`Error::Unreadable`], and those of [`shards::prepare`]; whoever takes the task next
/// begins anew.
pub async fn pack(queue: &Queue, store: &Store, task: &DatasetTask, number: u32) -> Result<(), Error> {
    let view = queue.dataset(&task.batch).await?;
    let shard = queue.dataset_shards(&task.batch, number, 1).await?.into_iter().next();
    let Some((view, shard)) = view.zip(shard) else { return Ok(()) };
    let settings = Settings::read(&view.settings)?;
    let segments = segments::keys(queue, &task.batch, shard.first, shard.last).await?;
    if shard.committed.is_none() {
        sweep::end_uploads(store, &task.batch, number).await?;
        let made = Shard { batch: task.batch, number, segments: segments.clone(), split: settings.split };
        if !commit(store, task, &made).await? {
            return Ok(());
        }
    }
    shards::remove_staged(store, &segments).await?;
    task.cleared(number).await?;
    Ok(())
}

/// Gives whether the shard is committed.
async fn commit(store: &Store, task: &DatasetTask, shard: &Shard) -> Result<bool, Error> {
    let Some(prepared) = shards::prepare(store, shard).await? else {
        return Err(Error::Unreadable {
            object: format!("shard {} of batch {}", shard.number, shard.batch),
            reason: "it has no rows".into(),
        });
    };
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| Error::Unreadable {
            object: "a shard's description".into(),
            reason: error.to_string(),
        })
    };
    let intent = json(serde_json::to_string(&prepared.intent))?;
    match task.intend(shard.number, &intent).await? {
        Intent::Go => {}
        Intent::Committed => return Ok(true),
        Intent::Lost => {
            shards::abandon(store, &prepared.intent).await?;
            return Ok(false);
        }
    }
    prepared.complete(store).await?;
    // Lists of keys lie in the store alone.
    let told = Stats { near_doubles: None, ..prepared.stats };
    Ok(task.commit(shard.number, &intent, &json(serde_json::to_string(&told))?).await?)
}
