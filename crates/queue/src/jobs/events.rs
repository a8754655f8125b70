//! What happens to jobs, as one stream a shard; its ids are the ids that clients resume from.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use redis::streams::StreamId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::codec::json;
use crate::schema::text_schema;
use crate::{BatchId, JobId};

/// Position of an event in its stream: milliseconds, then a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    milliseconds: u64,
    sequence: u64,
}

impl EventId {
    /// Before all events.
    pub(super) const ZERO: Self = Self { milliseconds: 0, sequence: 0 };

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
    /// There is a new preview, at [`Queue::preview`](crate::Queue::preview).
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
    pub(super) fn read(shard: u16, entry: &StreamId) -> Option<Self> {
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

text_schema! {
    EventId: "An event's position in its stream: milliseconds since the epoch, then a number.",
        "^[0-9]{1,19}-[0-9]{1,19}$",
        "1700000000000-0";
}
