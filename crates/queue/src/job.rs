//! What a job is: its id, its state, what ends it and what others see of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::events::EventId;
use crate::spec::{Class, JobSpec};

/// The shard every job lives in until there are several.
const SHARD: &str = "0";

/// A job's name: its shard, then a UUID whose order is the order of submission.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    shard: String,
    uuid: Uuid,
}

impl JobId {
    pub(crate) fn new() -> Self {
        Self { shard: SHARD.into(), uuid: Uuid::now_v7() }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.uuid)
    }
}

/// Text that is no job id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a job id")]
pub struct NotAJobId(String);

impl FromStr for JobId {
    type Err = NotAJobId;

    fn from_str(text: &str) -> Result<Self, NotAJobId> {
        let parse = || {
            let (shard, uuid) = text.split_once('-')?;
            // Only the canonical form: another spelling would be another key.
            let uuid = Uuid::try_parse(uuid).ok().filter(|parsed| parsed.to_string() == uuid)?;
            (shard == SHARD).then(|| Self { shard: shard.into(), uuid })
        };
        parse().ok_or_else(|| NotAJobId(text.chars().take(64).collect()))
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Whether nothing can change any more.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// The picture a job ended with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Where the picture lies: `s3://bucket/key`.
    pub uri: String,
    /// Where the JSON sidecar with all parameters lies.
    pub sidecar: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
    /// Media type of the file.
    pub content_type: String,
}

/// Why a job, or an attempt at it, failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A word for programs, for example `reference_missing`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
}

/// Everything others see of a job.
#[derive(Debug, Clone, Serialize)]
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
    /// When it was accepted, in milliseconds since 1970, by Redis' clock.
    pub submitted_ms: u64,
    /// When its first attempt began.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub finished_ms: Option<u64>,
    /// Until when this record is kept.
    pub expires_ms: Option<u64>,
    /// The picture, once it succeeded.
    pub output: Option<Output>,
    /// The last failure; final once it failed.
    pub error: Option<Failure>,
    /// The newest event about it.
    pub last_event: EventId,
}

/// A record as the function library gives it: JSON whose larger parts are JSON texts themselves.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) id: JobId,
    pub(crate) tenant: String,
    pub(crate) spec: String,
    pub(crate) attempt: u32,
    pub(crate) fence: u64,
    state: State,
    class: Class,
    version: u64,
    step: u32,
    of: u32,
    pub(crate) submitted_ms: u64,
    pub(crate) claimed_ms: Option<u64>,
    started_ms: Option<u64>,
    finished_ms: Option<u64>,
    expires_ms: Option<u64>,
    output: Option<String>,
    error: Option<String>,
    event: EventId,
}

impl Record {
    pub(crate) fn into_view(self) -> serde_json::Result<JobView> {
        Ok(JobView {
            spec: serde_json::from_str(&self.spec)?,
            output: self.output.as_deref().map(serde_json::from_str).transpose()?,
            error: self.error.as_deref().map(serde_json::from_str).transpose()?,
            id: self.id,
            tenant: self.tenant,
            state: self.state,
            version: self.version,
            attempt: self.attempt,
            fence: self.fence,
            class: self.class,
            step: self.step,
            of: self.of,
            submitted_ms: self.submitted_ms,
            started_ms: self.started_ms,
            finished_ms: self.finished_ms,
            expires_ms: self.expires_ms,
            last_event: self.event,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::JobId;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id = JobId::new();
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        for text in ["", "0", "0-", "x", "1-0198a0b0-0000-7000-8000-000000000000", "0-../../etc"] {
            assert!(text.parse::<JobId>().is_err(), "{text:?}");
        }
        assert!(id.to_string().to_uppercase().parse::<JobId>().is_err() || !id.to_string().contains('a'));
    }

    #[test]
    fn ids_sort_by_submission() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::new()).collect();
        assert!(ids.is_sorted());
    }
}
