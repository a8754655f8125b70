//! Work on data sets: any process takes tasks, also one without a device.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use uso_dataset::run;
use uso_queue::{DatasetTask, Queue, TaskKind, TaskRequest, WorkerId};
use uso_store::Store;

/// How often a process looks for a task while it finds none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pause after a task that failed, so that a store that refuses is not asked without end.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Data sets that a process runs at once, and shards that it packs at once.
const MOST: (usize, usize) = (8, 1);

/// Takes tasks of data sets until `stop`: a run is given up then, so that another process goes on at once; a shard that is
/// being packed is left as it is, and packed again by whoever takes it next.
pub async fn work_on_datasets(queue: Queue, store: Store, worker: WorkerId, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut kinds: HashMap<Id, TaskKind> = HashMap::new();
    while !stop.is_cancelled() {
        let runs = kinds.values().filter(|kind| matches!(kind, TaskKind::Run)).count();
        let request = TaskRequest { run: runs < MOST.0, pack: kinds.len() - runs < MOST.1 };
        let found = queue.claim_task(&worker, run::TERM, request).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot look for work on data sets now");
            None
        });
        if let Some(task) = found {
            let (queue, store, stop, kind) = (queue.clone(), store.clone(), stop.clone(), task.kind);
            let spawned = tasks.spawn(async move { work_on(&queue, &store, &task, &stop).await });
            kinds.insert(spawned.id(), kind);
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(joined) = tasks.join_next_with_id() => {
                let id = joined.as_ref().map_or_else(|error| error.id(), |(id, ())| *id);
                kinds.remove(&id);
                if let Err(error) = joined {
                    tracing::error!(%error, "work on a data set ended early");
                }
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

async fn work_on(queue: &Queue, store: &Store, task: &DatasetTask, stop: &CancellationToken) {
    let (batch, kind) = (task.batch, task.kind);
    tracing::info!(%batch, ?kind, "works on data set {batch}");
    let work = async {
        match kind {
            TaskKind::Run => run::run(queue, store, task).await,
            TaskKind::Pack(number) => run::pack(queue, store, task, number).await,
        }
    };
    let ended = tokio::select! {
        ended = work => ended,
        () = keep(task) => {
            tracing::warn!(%batch, ?kind, "another process works on data set {batch} now");
            return;
        }
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::warn!(%batch, ?kind, %error, "work on data set {batch} failed: {error}");
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(AFTER_FAILURE) => {}
        }
    }
    if let Err(error) = task.release().await {
        tracing::debug!(%batch, %error, "the task ends by itself");
    }
}

/// Keeps a task; returns once it is lost.
async fn keep(task: &DatasetTask) {
    let mut until = tokio::time::Instant::now() + run::TERM;
    loop {
        tokio::time::sleep(run::TERM / 5).await;
        match task.renew(run::TERM).await {
            Ok(state) if state.held => until = tokio::time::Instant::now() + run::TERM,
            Ok(_) => return,
            // It may be somebody else's by then.
            Err(_) if tokio::time::Instant::now() >= until => return,
            Err(_) => {}
        }
    }
}
