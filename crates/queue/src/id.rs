//! Names of jobs and batches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schema::text_schema;

/// A job's name: its shard, then a UUID whose order is the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    shard: u16,
    uuid: Uuid,
}

/// A batch's name, made like a job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(JobId);

impl JobId {
    pub(crate) fn new(shard: u16) -> Self {
        Self { shard, uuid: Uuid::now_v7() }
    }

    /// The job of a shard whose sixteen bytes these are.
    pub(crate) fn read(shard: u16, bytes: &[u8]) -> Result<Self, NotAnId> {
        let uuid =
            Uuid::from_slice(bytes).map_err(|_| NotAnId(format!("a text of {} bytes", bytes.len())))?;
        Ok(Self { shard, uuid })
    }

    /// Where the job lives.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// Its name within the shard.
    pub(crate) fn bytes(&self) -> &[u8; 16] {
        self.uuid.as_bytes()
    }
}

/// A row of a data set, as the id of its job tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowId {
    /// The data set's batch.
    pub batch: BatchId,
    /// The row's number in it, from 0.
    pub row: u64,
    /// The pass in which it was queued.
    pub pass: u8,
}

impl JobId {
    /// The row that this job is, if it is one of a data set. A row's job has its batch's id, but for the pass in the ninth
    /// byte and the row, from 1, in the last four; a UUID of version 8 says so.
    pub fn row(&self) -> Option<RowId> {
        let mut bytes = *self.bytes();
        let row = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if self.uuid.get_version_num() != 8 || row == 0 {
            return None;
        }
        let pass = bytes[8] & 0x3f;
        bytes[8] = 0x80;
        bytes[12..].fill(0);
        let batch = BatchId(Self { shard: self.shard, uuid: Uuid::from_bytes(bytes) });
        Some(RowId { batch, row: u64::from(row) - 1, pass })
    }
}

impl BatchId {
    pub(crate) fn new(shard: u16) -> Self {
        Self(JobId::new(shard))
    }

    /// The id of a batch whose jobs are rows of a data set: they are named after it.
    pub(crate) fn of_rows(shard: u16) -> Self {
        let mut bytes = *JobId::new(shard).bytes();
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = 0x80;
        bytes[12..].fill(0);
        Self(JobId { shard, uuid: Uuid::from_bytes(bytes) })
    }

    /// Whether its jobs are rows of a data set.
    pub fn is_dataset(&self) -> bool {
        self.0.uuid.get_version_num() == 8
    }

    /// The job that a row is in this pass; none if there cannot be such a row.
    pub fn job_of_row(&self, row: u64, pass: u8) -> Option<JobId> {
        let number = u32::try_from(row + 1).ok()?;
        let mut bytes = *self.bytes();
        bytes[8] = 0x80 | pass & 0x3f;
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        Some(JobId { shard: self.0.shard, uuid: Uuid::from_bytes(bytes) })
    }

    pub(crate) fn read(shard: u16, bytes: &[u8]) -> Result<Self, NotAnId> {
        JobId::read(shard, bytes).map(Self)
    }

    /// Where its jobs live.
    pub fn shard(&self) -> u16 {
        self.0.shard
    }

    pub(crate) fn bytes(&self) -> &[u8; 16] {
        self.0.bytes()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.uuid)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is no id.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not an id")]
pub struct NotAnId(String);

impl NotAnId {
    pub(crate) fn new(text: &str) -> Self {
        Self(format!("{:?}", text.chars().take(64).collect::<String>()))
    }
}

impl FromStr for JobId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let parse = || {
            let (shard, uuid) = text.split_once('-')?;
            let id = Self { shard: shard.parse().ok()?, uuid: Uuid::try_parse(uuid).ok()? };
            // Only the canonical form: one job has one name.
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| NotAnId::new(text))
    }
}

impl FromStr for BatchId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.parse().map(Self)
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for BatchId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for BatchId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

text_schema! {
    JobId: "A job's name: its shard, then a UUID whose order is the order of submission.",
        "^(0|[1-9][0-9]{0,3})-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "0-0198a0b0-0000-7000-8000-00000000000a";
    BatchId: "A batch's name, made like a job's.",
        "^(0|[1-9][0-9]{0,3})-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "0-0198a0b0-0000-7000-8000-00000000000b";
}

#[cfg(test)]
mod tests {
    use super::JobId;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id = JobId::new(3);
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        assert_eq!(JobId::read(3, id.bytes()).unwrap(), id);
        for text in ["", "0", "0-", "x", "-1-0198a0b0-0000-7000-8000-00000000000a", "0-../../etc"] {
            assert!(text.parse::<JobId>().is_err(), "{text:?}");
        }
        let canonical = "7-0198a0b0-0000-7000-8000-00000000000a";
        assert!(canonical.parse::<JobId>().is_ok());
        assert!(canonical.to_uppercase().parse::<JobId>().is_err());
        assert!(format!("0{canonical}").parse::<JobId>().is_err());
    }

    #[test]
    fn ids_sort_by_submission() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::new(0)).collect();
        assert!(ids.is_sorted());
    }
}
