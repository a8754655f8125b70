//! Ends that no worker brings about, and new beginnings.

use redis::Value;

use crate::reply::Reply;
use crate::{Error, JobId, Queue, State};

/// What a request to cancel a job found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// The job is canceled, by this call or one before.
    Done,
    /// It had ended otherwise.
    Ended(State),
}

/// What a request to repeat a job found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// The new job, made by this call or one before.
    As(JobId),
    /// The job has not ended.
    Unfinished,
    /// There are bytes, but no job in them.
    NoJob,
}

/// What a request to forget a job found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Its record is gone.
    Done,
    /// The job has not ended; nothing was done.
    Unfinished,
}

impl Queue {
    /// Forgets a job that has ended, its dead letter too. What it left in the object store is the caller's, to be
    /// deleted before. None if there is no such job.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it is safe to ask again.
    pub async fn remove(&self, id: &JobId) -> Result<Option<Removed>, Error> {
        let mut command = self.function(id.shard(), "remove");
        command.arg(id.bytes());
        let removed: Option<bool> = self.0.connection.accept(&command).await?;
        Ok(removed.map(|done| if done { Removed::Done } else { Removed::Unfinished }))
    }

    /// Ends a job at once. Its worker, if there is one, learns of it at its next report and no result
    /// of it counts. None if there is no such job.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it is safe to ask again.
    pub async fn cancel(&self, id: &JobId) -> Result<Option<Canceled>, Error> {
        let mut command = self.function(id.shard(), "cancel");
        command.arg(id.bytes()).arg(self.0.config.retention_ms());
        let Some(mut reply) = Reply::of(self.0.connection.accept(&command).await?)? else { return Ok(None) };
        Ok(Some(match State::read(&reply.next::<String>()?)? {
            State::Canceled => Canceled::Done,
            state => Canceled::Ended(state),
        }))
    }

    /// Makes a new job from one that has ended; the old one stays as it ended. Asking again gives the
    /// same new job. None if there is no such job.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unreachable`]; it is safe to ask again.
    pub async fn retry(&self, id: &JobId) -> Result<Option<Retried>, Error> {
        let mut command = self.function(id.shard(), "retry");
        command.arg(id.bytes()).arg(JobId::new(id.shard()).bytes());
        Retried::read(id.shard(), self.0.connection.accept(&command).await?)
    }
}

impl Retried {
    pub(crate) fn read(shard: u16, value: Value) -> Result<Option<Self>, Error> {
        let Some(mut reply) = Reply::of(value)? else { return Ok(None) };
        Ok(Some(match reply.next::<String>()?.as_str() {
            "retried" => Self::As(JobId::read(shard, &reply.next::<Vec<u8>>()?)?),
            "unfinished" => Self::Unfinished,
            "no job" => Self::NoJob,
            other => return Err(Error::Unreadable(format!("a retry was answered {other:?}"))),
        }))
    }
}
