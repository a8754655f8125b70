//! What happens to jobs, as one stream a shard; its ids are the ids that clients resume from.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::codec::json;
use crate::schema::text_schema;
use crate::{BatchId, Error, JobId, Queue};

/// Longest wait of one blocked read: short enough to notice a shutdown, long enough to cost nothing.
const BLOCK: Duration = Duration::from_secs(5);

/// Most events of one read.
const BATCH: usize = 1000;

/// Position of an event in its stream: milliseconds, then a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    milliseconds: u64,
    sequence: u64,
}

impl EventId {
    /// Before all events.
    pub(crate) const ZERO: Self = Self { milliseconds: 0, sequence: 0 };

    /// When it happened, in milliseconds since the epoch, by Redis' clock.
    pub fn at_ms(&self) -> u64 {
        self.milliseconds
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (milliseconds, sequence) = text.split_once('-')?;
            Some(Self { milliseconds: milliseconds.parse().ok()?, sequence: sequence.parse().ok()? })
        };
        parse().ok_or_else(|| "not an event id".into())
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The job was accepted.
    Queued,
    /// A worker began an attempt.
    Started,
    /// A step was done.
    Progress {
        /// Steps done.
        step: u32,
        /// Steps in all.
        of: u32,
    },
    /// There is a new preview, at [`Queue::preview`].
    Preview,
    /// The worker lets another job go first; this one still runs.
    SetAside,
    /// The worker goes on with a job that it had set aside.
    Resumed,
    /// The job went back to the queue.
    Requeued {
        /// `released`, `retry` or `lease_lost`.
        reason: String,
    },
    /// The job ended with a picture.
    Succeeded,
    /// The job ended without one.
    Failed,
    /// Somebody ended the job.
    Canceled,
    /// The job's time had passed.
    Expired {
        /// `start_by` or `finish_by`.
        missed: String,
    },
}

/// One thing that happened to one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// Its position in the stream.
    pub id: EventId,
    /// The job.
    pub job: JobId,
    /// What happened.
    pub kind: EventKind,
    /// The job's version after it.
    pub version: u64,
    /// The job's attempts after it.
    pub attempt: u32,
    /// Whose job it is.
    pub tenant: String,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
}

/// What an event carries beside its name; a step is written in fewer letters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    reason: String,
    missed: String,
}

impl JobEvent {
    /// The name clients know it by.
    pub fn name(&self) -> &'static str {
        match self.kind {
            EventKind::Queued => "queued",
            EventKind::Started => "started",
            EventKind::Progress { .. } => "progress",
            EventKind::Preview => "preview",
            EventKind::SetAside => "set_aside",
            EventKind::Resumed => "resumed",
            EventKind::Requeued { .. } => "requeued",
            EventKind::Succeeded => "succeeded",
            EventKind::Failed => "failed",
            EventKind::Canceled => "canceled",
            EventKind::Expired { .. } => "expired",
        }
    }

    /// Whether no event about the job follows.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self.kind,
            EventKind::Succeeded | EventKind::Failed | EventKind::Canceled | EventKind::Expired { .. }
        )
    }

    /// Reads an entry: the job, then name, version, attempt, tenant and data as one text.
    fn read(shard: u16, entry: &StreamId) -> Option<Self> {
        let bytes = |name: &str| entry.get::<Vec<u8>>(name);
        let text: String = entry.get("e")?;
        let mut words = text.splitn(5, ' ');
        let name = words.next()?;
        let (version, attempt) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let tenant = words.next()?.to_owned();
        let text = words.next().unwrap_or_default();
        let data = || if text.is_empty() { Some(Data::default()) } else { json(text).ok() };
        let kind = match name {
            "queued" => EventKind::Queued,
            "started" => EventKind::Started,
            "progress" => {
                let (step, of) = text.split_once('/')?;
                EventKind::Progress { step: step.parse().ok()?, of: of.parse().ok()? }
            }
            "preview" => EventKind::Preview,
            "set_aside" => EventKind::SetAside,
            "resumed" => EventKind::Resumed,
            "requeued" => EventKind::Requeued { reason: data()?.reason },
            "succeeded" => EventKind::Succeeded,
            "failed" => EventKind::Failed,
            "canceled" => EventKind::Canceled,
            "expired" => EventKind::Expired { missed: data()?.missed },
            _ => return None,
        };
        Some(Self {
            id: entry.id.parse().ok()?,
            job: JobId::read(shard, &bytes("j")?).ok()?,
            kind,
            version,
            attempt,
            tenant,
            batch: bytes("b").map(|bytes| BatchId::read(shard, &bytes)).transpose().ok()?,
        })
    }
}

impl Serialize for JobEvent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.job)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("attempt", &self.attempt)?;
        match &self.kind {
            EventKind::Progress { step, of } => {
                map.serialize_entry("step", step)?;
                map.serialize_entry("of", of)?;
            }
            EventKind::Requeued { reason } => map.serialize_entry("reason", reason)?,
            EventKind::Expired { missed } => map.serialize_entry("missed", missed)?,
            _ => {}
        }
        map.end()
    }
}

impl Queue {
    /// Follows all events of a shard after `after`, or from now on, over a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn tail(&self, shard: u16, after: Option<EventId>) -> Result<EventTail, Error> {
        EventTail::open(self, shard, after).await
    }

    /// Follows the events of a batch's jobs after `after`, or from now on, over a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn tail_batch(&self, batch: &BatchId, after: Option<EventId>) -> Result<EventTail, Error> {
        Ok(EventTail::open(self, batch.shard(), after).await?.only(*batch))
    }

    /// The newest event of a shard.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn newest_event(&self, shard: u16) -> Result<EventId, Error> {
        let range = newest(&self.key(shard, "events"));
        Ok(first(&self.0.connection.call(&range).await?))
    }
}

impl JsonSchema for JobEvent {
    fn schema_name() -> Cow<'static, str> {
        "JobEvent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let count = |description: &str| {
            json_schema!({
                "description": description, "type": "integer", "format": "uint32", "minimum": 0,
            })
        };
        json_schema!({
            "description": "One thing that happened to one job, the data of an event of its name.",
            "type": "object",
            "properties": {
                "id": generator.subschema_for::<JobId>(),
                "version": {
                    "description": "The job's version after it.",
                    "type": "integer", "format": "uint64", "minimum": 0,
                },
                "attempt": count("The job's attempts after it."),
                "step": count("Steps done; of `progress` alone."),
                "of": count("Steps in all; of `progress` alone."),
                "reason": {
                    "description": "Why it went back to the queue; of `requeued` alone.",
                    "enum": ["released", "retry", "lease_lost"],
                },
                "missed": {
                    "description": "The time that had passed; of `expired` alone.",
                    "enum": ["start_by", "finish_by"],
                },
            },
            "required": ["id", "version", "attempt"],
        })
    }
}

/// Follows the event stream over a connection of its own. One a process is enough.
pub struct EventTail {
    connection: MultiplexedConnection,
    key: String,
    shard: u16,
    after: EventId,
    /// The only batch whose events are given out, if there is one.
    batch: Option<BatchId>,
}

impl EventTail {
    async fn open(queue: &Queue, shard: u16, after: Option<EventId>) -> Result<Self, Error> {
        let key = queue.key(shard, "events");
        let mut connection = queue.0.connection.waiting(&key).await?;
        let after = match after {
            Some(after) => after,
            None => {
                let newest = newest(&key);
                let reply = tokio::time::timeout(BLOCK, newest.query_async(&mut connection)).await;
                first(&reply.map_err(|_| Error::Unreachable("the event stream does not answer".into()))??)
            }
        };
        Ok(Self { connection, key, shard, after, batch: None })
    }

    /// The same events, but only those of jobs of a batch.
    fn only(self, batch: BatchId) -> Self {
        Self { batch: Some(batch), ..self }
    }

    /// How far it has read.
    pub fn position(&self) -> EventId {
        self.after
    }

    /// The next events, or none if nothing happened for a while, or nothing to the batch.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the connection is gone: open another tail at [`Self::position`].
    pub async fn next(&mut self) -> Result<Vec<JobEvent>, Error> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(BATCH).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(&self.key).arg(self.after.to_string());
        let reply = tokio::time::timeout(2 * BLOCK, read.query_async(&mut self.connection))
            .await
            .map_err(|_| Error::Unreachable("the event stream does not answer".into()))?;
        let reply: Option<StreamReadReply> = reply?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        let mut events = Vec::new();
        for entry in entries {
            if let Ok(id) = entry.id.parse() {
                self.after = id;
            }
            match JobEvent::read(self.shard, &entry) {
                Some(event) if self.batch.is_some_and(|batch| event.batch != Some(batch)) => {}
                Some(event) => events.push(event),
                // A newer version may write events that this one does not know.
                None => tracing::debug!(event.id = entry.id, "skipped an unknown event"),
            }
        }
        Ok(events)
    }
}

/// Asks for the newest event of a stream.
fn newest(key: &str) -> redis::Cmd {
    let mut read = redis::cmd("XREVRANGE");
    read.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
    read
}

/// The id of the first event of an answer, or one before all others.
fn first(reply: &StreamRangeReply) -> EventId {
    let id = reply.ids.first().and_then(|entry| entry.id.parse().ok());
    id.unwrap_or(EventId::ZERO)
}

text_schema! {
    EventId: "An event's position in its stream: milliseconds since the epoch, then a number.",
        "^[0-9]{1,19}-[0-9]{1,19}$",
        "1700000000000-0";
}
