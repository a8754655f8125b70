//! Rows into the queue.

use std::time::Duration;

use redis::Value;

use super::DatasetTask;
use crate::codec::to_json;
use crate::reply::Reply;
use crate::{Error, JobSpec};

/// Rows that one call queues at most.
pub const MAX_FED: usize = 200;

/// One row to be queued.
#[derive(Debug, Clone, Copy)]
pub struct RowSubmission<'a> {
    /// Its number in the batch, from 0.
    pub row: u64,
    /// Its key in the batch.
    pub key: &'a str,
    /// Equal for rows that share what is encoded for them.
    pub group: u64,
    /// What to do.
    pub spec: &'a JobSpec,
}

/// Why rows are not queued now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The window is full.
    Window,
    /// A limit of the tenant.
    Limit,
    /// The data set is paused, canceled, or at its budget.
    Held(String),
}

/// What became of rows that were to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fed {
    /// They are queued, or were; the next row is this.
    Queued(u64),
    /// Not now, and certainly not for so long.
    Waits(Wait, Duration),
    /// Others have queued rows meanwhile; the next row is this.
    Moved(u64),
    /// The task is somebody else's now.
    Lost,
}

impl DatasetTask {
    /// Queues rows, at most [`MAX_FED`], of those from `from` to `to` (not included), in this order, as long as fewer
    /// than `window` rows of the batch wait. Rows within that are not among them are passed over.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Unreachable`], and then the same call is safe.
    pub async fn feed(
        &self,
        from: u64,
        to: u64,
        window: u64,
        rows: &[RowSubmission<'_>],
    ) -> Result<Fed, Error> {
        let mut command = self.function("dataset_feed");
        command.arg(self.token()).arg(from).arg(to).arg(window);
        for row in rows {
            add(&mut command, row)?;
        }
        let value: Value = self.queue.0.connection.accept(&command).await?;
        let mut reply = Reply::list(value)?;
        let word: String = reply.next()?;
        Ok(match word.as_str() {
            "queued" => Fed::Queued(reply.next()?),
            "moved" => Fed::Moved(reply.next()?),
            "wait" => {
                let why: String = reply.next()?;
                let why = match why.as_str() {
                    "window" => Wait::Window,
                    "tenant_queued" | "tenant_rate" => Wait::Limit,
                    _ => Wait::Held(why),
                };
                Fed::Waits(why, Duration::from_millis(reply.next()?))
            }
            _ => Fed::Lost,
        })
    }
}

fn add(command: &mut redis::Cmd, row: &RowSubmission<'_>) -> Result<(), Error> {
    let spec = row.spec;
    let time = |time: Option<jiff::Timestamp>| {
        time.map(|time| time.as_millisecond().to_string()).unwrap_or_default()
    };
    command.arg(row.row).arg(row.key).arg(row.group).arg(spec.class.as_str()).arg(spec.priority);
    command.arg(to_json(spec)?).arg(time(spec.not_before)).arg(time(spec.start_by)).arg(time(spec.finish_by));
    Ok(())
}
