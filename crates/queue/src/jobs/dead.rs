//! What went aside: entries that could not be understood, and jobs that no attempt could finish.

use std::fmt;
use std::str::FromStr;

use redis::streams::{StreamId, StreamRangeReply};

use crate::schema::text_schema;
use crate::{Error, EventId, JobId, NotAnId, Queue, Retried};

/// A dead letter's name: its shard, then its position in the shard's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    shard: u16,
    entry: EventId,
}

impl LetterId {
    /// When it went aside, in milliseconds since the epoch, by Redis' clock.
    pub fn at_ms(&self) -> u64 {
        self.entry.at_ms()
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.entry)
    }
}

impl FromStr for LetterId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let parse = || {
            let (shard, entry) = text.split_once('-')?;
            Some(Self { shard: shard.parse().ok()?, entry: entry.parse().ok()? })
        };
        parse().ok_or_else(|| NotAnId::new(text))
    }
}

/// Something that went aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its name.
    pub id: LetterId,
    /// Why: `poison`, `attempts spent`, `no record`, `broken record`, `not a job`, `not a lease`.
    pub reason: String,
    /// The job, if it is known.
    pub job: Option<JobId>,
    /// What was found, as it was found.
    pub raw: Vec<u8>,
}

impl DeadLetter {
    fn read(shard: u16, entry: &StreamId) -> Option<Self> {
        let job = entry.get::<Vec<u8>>("j").filter(|bytes| !bytes.is_empty());
        Some(Self {
            id: LetterId { shard, entry: entry.id.parse().ok()? },
            reason: entry.get("reason")?,
            job: job.and_then(|bytes| JobId::read(shard, &bytes).ok()),
            raw: entry.get("raw")?,
        })
    }
}

impl Queue {
    /// Dead letters of all shards, the newest first, at most `most` of each shard.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dead_letters(&self, most: usize) -> Result<Vec<DeadLetter>, Error> {
        self.dead_letters_before(None, most).await
    }

    /// The same, but only those that follow `last` in that order.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dead_letters_before(
        &self,
        last: Option<LetterId>,
        most: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let mut letters = Vec::new();
        for shard in self.shards() {
            // Of letters of one moment, the shard with the highest number comes first.
            let end = match last {
                None => "+".to_owned(),
                Some(last) if shard < last.shard => last.entry.to_string(),
                // Redis takes no range that ends before all entries.
                Some(LetterId { entry: EventId::ZERO, .. }) => continue,
                Some(last) => format!("({}", last.entry),
            };
            let mut range = redis::cmd("XREVRANGE");
            range.arg(self.key(shard, "dead")).arg(end).arg("-").arg("COUNT").arg(most);
            let reply: StreamRangeReply = self.0.connection.call(&range).await?;
            letters.extend(reply.ids.iter().filter_map(|entry| DeadLetter::read(shard, entry)));
        }
        letters.sort_by_key(|letter| std::cmp::Reverse((letter.id.entry, letter.id.shard)));
        Ok(letters)
    }

    /// One dead letter, or none if it is not there.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dead_letter(&self, id: &LetterId) -> Result<Option<DeadLetter>, Error> {
        let mut range = redis::cmd("XRANGE");
        let entry = id.entry.to_string();
        range.arg(self.key(id.shard, "dead")).arg(&entry).arg(&entry);
        let reply: StreamRangeReply = self.0.connection.call(&range).await?;
        Ok(reply.ids.first().and_then(|entry| DeadLetter::read(id.shard, entry)))
    }

    /// Makes a new job from a dead letter and drops the letter. None if it is not there.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unreachable`].
    pub async fn retry_dead_letter(&self, id: &LetterId) -> Result<Option<Retried>, Error> {
        let mut command = self.function(id.shard, "revive");
        command.arg(id.entry.to_string()).arg(JobId::new(id.shard).bytes());
        Retried::read(id.shard, self.0.connection.accept(&command).await?)
    }

    /// Forgets a dead letter; gives whether it was there.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn drop_dead_letter(&self, id: &LetterId) -> Result<bool, Error> {
        let mut delete = redis::cmd("XDEL");
        delete.arg(self.key(id.shard, "dead")).arg(id.entry.to_string());
        self.0.connection.call(&delete).await
    }
}

text_schema! {
    LetterId: "A dead letter's name: its shard, then its position in the shard's stream.",
        "^(0|[1-9][0-9]{0,3})-[0-9]{1,19}-[0-9]{1,19}$",
        "0-1700000000000-0";
}
