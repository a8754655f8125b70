//! What a lease holds: the proof that it is held, and what is done with it.

use std::time::Duration;

use uuid::Uuid;

use crate::codec::to_json;
use crate::{Error, Failure, JobId, Queue};

/// What proves that a caller holds the lease.
#[derive(Clone)]
pub(super) struct Hold {
    pub(super) queue: Queue,
    pub(super) id: JobId,
    pub(super) fence: u64,
    pub(super) attempt: u32,
    pub(super) token: Uuid,
}

/// What the queue says to a renewal, beside that the lease is young again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewal {
    /// The nightly window has closed: the job should go back to the queue soon.
    pub(super) window_closed: bool,
    /// An idle worker would take the job.
    pub(super) wanted_elsewhere: bool,
}

impl Renewal {
    /// Reads what the function `renew_all` gives for a lease that is held.
    fn read(answer: u8) -> Self {
        Self { window_closed: answer & 2 != 0, wanted_elsewhere: answer & 4 != 0 }
    }
}

impl Hold {
    pub(super) fn function(&self, name: &str) -> redis::Cmd {
        let mut command = self.queue.function(self.id.shard(), name);
        command.arg(self.id.bytes()).arg(self.fence).arg(self.token.as_bytes());
        command
    }

    pub(super) fn retention_ms(&self) -> u64 {
        self.queue.0.config.retention_ms()
    }

    pub(super) async fn answer(&self, command: &redis::Cmd) -> Result<u8, Error> {
        match self.queue.0.connection.call(command).await? {
            0 => Err(self.lost()),
            answer => Ok(answer),
        }
    }

    pub(super) async fn call(&self, command: &redis::Cmd) -> Result<(), Error> {
        self.answer(command).await.map(|_| ())
    }

    pub(super) async fn fail(&self, failure: &Failure) -> Result<(), Error> {
        let config = &self.queue.0.config;
        let mut command = self.function("fail");
        command.arg(self.retention_ms()).arg(to_json(failure)?).arg(u8::from(failure.retryable));
        command.arg(config.attempts).arg(config.backoff.random_wait(self.attempt).as_millis() as u64);
        self.call(&command).await
    }

    pub(super) fn lost(&self) -> Error {
        Error::LostLease { id: self.id, fence: self.fence }
    }
}

impl Queue {
    /// Makes leases of one shard young again, within `limit`; none for a lease that is lost.
    pub(super) async fn renew_all(
        &self,
        holds: &[&Hold],
        limit: Duration,
    ) -> Result<Vec<Option<Renewal>>, Error> {
        let Some(first) = holds.first() else { return Ok(Vec::new()) };
        let mut command = self.function(first.id.shard(), "renew_all");
        command.arg(self.0.config.lease.as_millis() as u64);
        for hold in holds {
            command.arg(hold.id.bytes()).arg(hold.fence).arg(hold.token.as_bytes());
        }
        let answers: Vec<u8> = self.0.connection.call_within(&command, limit).await?;
        if answers.len() != holds.len() {
            let reason = format!("{} answers for {} leases", answers.len(), holds.len());
            return Err(Error::Unreadable(reason));
        }
        Ok(answers.into_iter().map(|answer| (answer != 0).then(|| Renewal::read(answer))).collect())
    }

    /// Takes back that a job was to blame for a lease that was lost: its holder lives.
    pub(super) async fn clear_mark(&self, hold: &Hold) -> Result<(), Error> {
        let mut command = self.function(hold.id.shard(), "clear_mark");
        command.arg(hold.id.bytes()).arg(hold.token.as_bytes());
        self.0.connection.call_within::<u8>(&command, self.0.config.renew).await.map(|_| ())
    }
}
