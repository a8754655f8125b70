//! How the event stream of a shard is followed.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamRangeReply, StreamReadReply};

use crate::{BatchId, Error, EventId, JobEvent, Queue};

/// Longest wait of one blocked read: short enough to notice a shutdown, long enough to cost nothing.
const BLOCK: Duration = Duration::from_secs(5);

/// Most events of one read.
const BATCH: usize = 1000;

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
