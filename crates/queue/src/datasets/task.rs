//! Tasks: work on a data set that one process at a time does under a lease.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use crate::reply::Reply;
use crate::{BatchId, Error, Queue, WorkerId};

/// Rows that one call marks at most.
pub const MAX_MARKED: usize = 1000;

/// What is to be done for a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// Queue its rows and put their outcomes into segments.
    Run,
    /// Make the shard of this number.
    Pack(u32),
}

/// Which tasks a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskRequest {
    /// [`TaskKind::Run`].
    pub run: bool,
    /// [`TaskKind::Pack`].
    pub pack: bool,
}

/// The right to do a task, for as long as it is renewed. Once lost, nothing that is said under it has any effect.
#[derive(Clone)]
pub struct DatasetTask {
    /// The data set's batch.
    pub batch: BatchId,
    /// What is to be done.
    pub kind: TaskKind,
    /// Rises with every task of the shard.
    pub fence: u64,
    token: Uuid,
    pub(super) queue: Queue,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskState {
    /// Whether this process still has it.
    pub held: bool,
    /// For [`TaskKind::Run`]: whether there is anything to do now.
    pub wanted: bool,
}

/// A segment that was put into the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Archived {
    /// Its outcomes: the first of those that wait.
    pub outcomes: u64,
    /// Of those, pictures.
    pub accepted: u64,
    /// Bytes of the pictures.
    pub bytes: u64,
    /// Device time that the outcomes took, in milliseconds.
    pub device_ms: u64,
    /// The lowest row among them.
    pub lowest: u64,
    /// The highest row among them.
    pub highest: u64,
    /// Whether the shard takes no more rows after it.
    pub closes: bool,
    /// Pictures that each measure rejected.
    pub rejected: BTreeMap<String, u64>,
}

/// Whether a shard may be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Yes, by this process.
    Go,
    /// It is committed.
    Committed,
    /// The task is somebody else's now.
    Lost,
}

impl TaskKind {
    fn name(self) -> String {
        match self {
            Self::Run => "run".into(),
            Self::Pack(number) => format!("pack:{number}"),
        }
    }

    fn read(name: &str) -> Result<Self, Error> {
        let number = name.strip_prefix("pack:").and_then(|number| number.parse().ok());
        match number {
            Some(number) => Ok(Self::Pack(number)),
            None if name == "run" => Ok(Self::Run),
            None => Err(Error::Unreadable(format!("a task is called {name:?}"))),
        }
    }
}

impl Queue {
    /// A task that nobody does, for `term` unless it is renewed; none if there is none. Never waits for one.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if nothing was found and a shard did not answer.
    pub async fn claim_task(
        &self,
        worker: &WorkerId,
        term: Duration,
        request: TaskRequest,
    ) -> Result<Option<DatasetTask>, Error> {
        if !request.run && !request.pack {
            return Ok(None);
        }
        let mut fault = None;
        for shard in self.shards() {
            match self.claim_task_of(shard, worker, term, request).await {
                Ok(Some(task)) => return Ok(Some(task)),
                Ok(None) => {}
                Err(error) => fault = Some(error),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// Has a data set be run that was taken for finished and has something to do, as one of a version before that has no
    /// index. Gives whether it has.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn look_after_dataset(&self, id: &BatchId) -> Result<bool, Error> {
        let mut command = self.function(id.shard(), "dataset_look_after");
        self.0.connection.call(command.arg(id.bytes())).await
    }

    async fn claim_task_of(
        &self,
        shard: u16,
        worker: &WorkerId,
        term: Duration,
        request: TaskRequest,
    ) -> Result<Option<DatasetTask>, Error> {
        let token = Uuid::new_v4();
        let mut command = self.function(shard, "dataset_task");
        command.arg(worker.as_str()).arg(token.as_bytes()).arg(term.as_millis() as u64);
        for (word, wanted) in [("run", request.run), ("pack", request.pack)] {
            if wanted {
                command.arg(word);
            }
        }
        let value: Value = self.0.connection.call(&command).await?;
        let Some(mut reply) = Reply::of(value)? else { return Ok(None) };
        let batch = BatchId::read(shard, &reply.next::<Vec<u8>>()?)?;
        let kind = TaskKind::read(&reply.next::<String>()?)?;
        Ok(Some(DatasetTask { batch, kind, fence: reply.next()?, token, queue: self.clone() }))
    }
}

impl DatasetTask {
    pub(super) fn function(&self, name: &str) -> redis::Cmd {
        let mut command = self.queue.function(self.batch.shard(), name);
        command.arg(self.batch.bytes());
        command
    }

    pub(super) fn token(&self) -> &[u8; 16] {
        self.token.as_bytes()
    }

    /// Keeps the task for another `term`.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn renew(&self, term: Duration) -> Result<TaskState, Error> {
        let mut command = self.function("dataset_renew");
        command.arg(self.kind.name()).arg(self.token()).arg(term.as_millis() as u64);
        let (held, wanted) = self.queue.0.connection.call(&command).await?;
        Ok(TaskState { held, wanted })
    }

    /// Gives the task up.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it ends by itself then.
    pub async fn release(&self) -> Result<(), Error> {
        let mut command = self.function("dataset_release");
        command.arg(self.kind.name()).arg(self.token());
        self.queue.0.connection.call::<u8>(&command).await.map(|_| ())
    }

    /// Says that the first outcomes that wait are in the segment of this number, under this task's fence; they leave the
    /// queue. With no outcomes, only the shard is closed. Gives whether that was taken.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it may have been taken.
    pub async fn archived(&self, segment: u64, archived: &Archived) -> Result<bool, Error> {
        let mut command = self.function("dataset_archived");
        command.arg(self.token()).arg(archived.outcomes).arg(segment).arg(self.fence).arg(archived.accepted);
        command.arg(archived.bytes).arg(archived.device_ms).arg(archived.lowest).arg(archived.highest);
        command.arg(u8::from(archived.closes)).arg(1);
        for (measure, pictures) in &archived.rejected {
            command.arg(measure).arg(*pictures);
        }
        self.queue.0.connection.call(&command).await
    }

    /// Says that there is an index of the first `after` segments, where there was one of `before`; `buckets` are those parts
    /// of it that are new, each with its name. Gives whether that was taken.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn indexed(&self, before: u64, after: u64, buckets: &[(u64, String)]) -> Result<bool, Error> {
        let mut command = self.function("dataset_indexed");
        command.arg(self.token()).arg(before).arg(after);
        for (bucket, name) in buckets {
            command.arg(*bucket).arg(name);
        }
        self.queue.0.connection.call(&command).await
    }

    /// Marks those of these rows that have failed, at most [`MAX_MARKED`]. Gives whether this process has the task.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; the same call is safe.
    pub async fn mark(&self, rows: &[u64]) -> Result<bool, Error> {
        let mut command = self.function("dataset_mark");
        command.arg(self.token()).arg(rows);
        self.queue.0.connection.call(&command).await
    }

    /// Begins a pass over the marked rows: those that have failed with this code, as so many segments tell. Gives whether it
    /// did: not if there are more segments now, or something else was asked for.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn retry_marked(&self, code: &str, segments: u64) -> Result<bool, Error> {
        let mut command = self.function("dataset_retry");
        command.arg(self.token()).arg(code).arg(segments);
        self.queue.0.connection.call(&command).await
    }

    /// Says that this process is about to commit a shard with this digest.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn intend(&self, shard: u32, digest: &str) -> Result<Intent, Error> {
        let mut command = self.function("dataset_pack_intent");
        command.arg(self.token()).arg(shard).arg(digest);
        let word: String = self.queue.0.connection.call(&command).await?;
        match word.as_str() {
            "go" => Ok(Intent::Go),
            "committed" => Ok(Intent::Committed),
            _ => Ok(Intent::Lost),
        }
    }

    /// Says that the shard of the last intent is in the store; `text` describes it. Gives whether it is the last intent's.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn commit(&self, shard: u32, digest: &str, text: &str) -> Result<bool, Error> {
        let mut command = self.function("dataset_pack_commit");
        command.arg(shard).arg(digest).arg(text);
        self.queue.0.connection.call(&command).await
    }

    /// Says that what was staged for a committed shard is removed.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn cleared(&self, shard: u32) -> Result<bool, Error> {
        self.queue.0.connection.call(self.function("dataset_pack_done").arg(shard)).await
    }

    /// Says that the index and the card tell of so many shards.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn described(&self, shards: u32) -> Result<bool, Error> {
        self.queue.0.connection.call(self.function("dataset_described").arg(self.token()).arg(shards)).await
    }
}
