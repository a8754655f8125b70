//! What a job is: its state, what ends it and what others see of it.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::PREFIX;
use crate::answers::Fields;
use crate::codec::json;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{BatchId, Class, Error, EventId, JobId, JobSpec, Measure, Queue, Receipt, Scores, Try};

/// How long a job counts as watched.
const WATCHED_FOR: Duration = Duration::from_secs(30);

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a worker.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Ended with a picture.
    Succeeded,
    /// Ended without one.
    Failed,
    /// Ended because somebody asked for it.
    Canceled,
    /// Ended because its time had passed.
    Expired,
}

impl State {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled, Self::Expired];

    /// Whether nothing can change any more.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The word used in requests and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }

    pub(crate) fn read(word: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| Error::Unreadable(format!("a job's state is {word:?}")))
    }
}

/// The picture a job ended with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Where the picture lies: `s3://bucket/key`.
    pub uri: String,
    /// Where the JSON sidecar with all parameters lies.
    pub sidecar: String,
    /// Where a small WebP of the picture lies; none where the picture itself is small, or where an older worker made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
    /// Media type of the file.
    pub content_type: String,
    /// What it took.
    #[serde(default)]
    pub receipt: Receipt,
    /// What scorers said of it; none if nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
}

/// Why a job, or an attempt at it, failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// A word for programs, for example `reference_missing`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// What the device did for pictures that were sampled and not accepted, in milliseconds; none if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_ms: Option<u64>,
    /// How many of these pictures did not reach each measure's threshold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<Measure, u64>,
}

/// A partial sample that a job can be resumed from: its bytes are in the object store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// Steps done; 0 if only `tries` is known, and there is no object.
    pub step: u32,
    /// Key of the object.
    pub key: String,
    /// SHA-256 of the object in hexadecimal.
    pub sha256: String,
    /// What it was made with: weights, precision, build and parameters.
    pub fingerprint: String,
    /// The pictures that were sampled before this one and not accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Try>,
}

/// Why a waiting job waits for other workers than those there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Blocked {
    /// None has enough memory free.
    Memory {
        /// Bytes of memory that the job needs.
        need: u64,
        /// The most bytes that a live worker has free for one job.
        best: u64,
    },
    /// None has all of its scorers, or all of its LoRAs.
    Scorers {
        /// The names of the scorers that are missing where the fewest are.
        scorers: Vec<String>,
        /// The names of the LoRAs that are missing there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        loras: Vec<String>,
    },
    /// None has all of its LoRAs.
    Loras {
        /// The names of those that are missing where the fewest are.
        loras: Vec<String>,
    },
}

impl Blocked {
    /// Reads what the job needs and the most there is, and the names of its missing LoRAs and scorers.
    fn read(need: Option<u64>, best: Option<u64>, lacking: Option<String>) -> Option<Self> {
        match lacking {
            Some(names) => Some(Self::lacking(&names)),
            None => need.zip(best).map(|(need, best)| Self::Memory { need, best }),
        }
    }

    /// Names with spaces between; those of scorers begin with [`PREFIX`].
    fn lacking(names: &str) -> Self {
        let (mut scorers, mut loras) = (Vec::new(), Vec::new());
        for name in names.split(' ') {
            match name.strip_prefix(PREFIX) {
                Some(scorer) => scorers.push(scorer.to_owned()),
                None => loras.push(name.to_owned()),
            }
        }
        if scorers.is_empty() { Self::Loras { loras } } else { Self::Scorers { scorers, loras } }
    }
}

/// Everything others see of a job. Times are milliseconds since the epoch by Redis' clock.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Whose job it is.
    pub tenant: String,
    /// Where it stands.
    pub state: State,
    /// Rises with every change.
    pub version: u64,
    /// Attempts begun.
    pub attempt: u32,
    /// The newest lease's fence; 0 before the first.
    pub fence: u64,
    /// How urgent it is.
    pub class: Class,
    /// What was asked for.
    pub spec: JobSpec,
    /// Steps done in this attempt.
    pub step: u32,
    /// Steps in all; 0 before the first report.
    pub of: u32,
    /// When it was accepted.
    pub submitted_ms: u64,
    /// When its first attempt began.
    pub started_ms: Option<u64>,
    /// Before this it is not worked on.
    pub due_ms: Option<u64>,
    /// When it ended.
    pub finished_ms: Option<u64>,
    /// Until when this record is kept.
    pub expires_ms: Option<u64>,
    /// Whether it ended without ever having started.
    pub aborted: bool,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// The row of a data set that it is, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The key of that row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_key: Option<String>,
    /// The ended job that this one repeats.
    pub retry_of: Option<JobId>,
    /// The job that repeats this one.
    pub retried_by: Option<JobId>,
    /// Set while no live worker is large enough, or has its LoRAs and scorers.
    pub blocked: Option<Blocked>,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Who holds it.
    pub worker: Option<String>,
    /// The picture, once it succeeded.
    pub output: Option<Output>,
    /// The last failure; final once it failed.
    pub error: Option<Failure>,
    /// The newest event about it.
    pub last_event: EventId,
}

impl JobView {
    /// Reads what the function `view` gives.
    pub(crate) fn read(id: JobId, reply: Reply) -> Result<Self, Error> {
        let mut job = Fields::of("view", reply)?;
        let other = |bytes: Option<Vec<u8>>| bytes.map(|bytes| JobId::read(id.shard(), &bytes)).transpose();
        let spec: JobSpec = json(&job.take::<String>("spec")?)?;
        let event: String = job.take("event")?;
        let batch: Option<Vec<u8>> = job.take("batch")?;
        Ok(Self {
            id,
            tenant: job.take("tenant")?,
            state: State::read(&job.take::<String>("state")?)?,
            version: job.take("version")?,
            attempt: job.take::<Option<u32>>("attempt")?.unwrap_or(0),
            fence: job.take::<Option<u64>>("fence")?.unwrap_or(0),
            class: spec.class,
            spec,
            step: job.take::<Option<u32>>("step")?.unwrap_or(0),
            of: job.take::<Option<u32>>("of")?.unwrap_or(0),
            submitted_ms: job.take("submitted")?,
            started_ms: job.take("started")?,
            due_ms: job.take("due")?,
            finished_ms: job.take("finished")?,
            expires_ms: job.take("expires")?,
            aborted: job.take::<Option<bool>>("aborted")?.unwrap_or(false),
            batch: batch.map(|bytes| BatchId::read(id.shard(), &bytes)).transpose()?,
            row: job.take("row")?,
            row_key: job.take("row_key")?,
            retry_of: other(job.take("retry_of")?)?,
            retried_by: other(job.take("retried_by")?)?,
            blocked: Blocked::read(job.take("need")?, job.take("best")?, job.take("lacking")?),
            checkpoint: optional_json(job.take("checkpoint")?)?,
            worker: job.take("worker")?,
            output: optional_json(job.take("output")?)?,
            error: optional_json(job.take("error")?)?,
            last_event: event.parse().map_err(|_| Error::Unreadable("an event's id".into()))?,
        })
    }
}

fn optional_json<T: serde::de::DeserializeOwned>(text: Option<String>) -> Result<Option<T>, Error> {
    text.as_deref().map(json).transpose()
}

impl Queue {
    /// What is known of a job, or none if there is no such job or its record's time is over.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Unreadable`] for a broken record.
    pub async fn view(&self, id: &JobId) -> Result<Option<JobView>, Error> {
        let value: Value = self.0.connection.call(self.function(id.shard(), "view").arg(id.bytes())).await?;
        let Some(reply) = Reply::of(value)? else { return Ok(None) };
        JobView::read(*id, reply).map(Some).map_err(|error| match error {
            Error::Unreadable(reason) => Error::Unreadable(format!("record of job {id}: {reason}")),
            other => other,
        })
    }

    /// Says that somebody watches a job. For some seconds from now on [`Lease::progress`](crate::Lease::progress)
    /// tells its worker so; whoever goes on watching says it again.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Full`].
    pub async fn watch(&self, id: &JobId) -> Result<(), Error> {
        let mut command = self.function(id.shard(), "watch");
        command.arg(id.bytes()).arg(WATCHED_FOR.as_millis() as u64);
        self.0.connection.call::<u8>(&command).await.map(|_| ())
    }

    /// Says the same of all jobs of a tenant, as far as they are interactive.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Full`].
    pub async fn watch_tenant(&self, tenant: &str) -> Result<(), Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "watch_tenant");
        command.arg(tenant).arg(WATCHED_FOR.as_millis() as u64);
        self.0.connection.call::<u8>(&command).await.map(|_| ())
    }

    /// The newest preview of a job that runs, or none if there was none lately.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn preview(&self, id: &JobId) -> Result<Option<Vec<u8>>, Error> {
        let key = [self.key(id.shard(), "preview:").as_bytes(), id.bytes()].concat();
        self.0.connection.call(redis::cmd("GET").arg(key)).await
    }
}
