//! Rows that ask for something else than before.

use redis::Value;

use crate::reply::Reply;
use crate::{BatchId, Error, Queue};

/// Why a row cannot be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It has its picture.
    Succeeded,
    /// It is being made.
    Running,
    /// The data set has had as many passes as it may have.
    Passes,
}

/// What became of a chunk that was to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// The other chunk is there. Rows that were queued before are queued again once the data set is started the next time.
    Done,
    /// Another chunk is there than the one that was to be replaced.
    Moved,
    /// Nothing was replaced: these rows cannot be.
    Kept(Vec<(u64, Kept)>),
}

impl Queue {
    /// Puts a chunk in the place of `before`, in which the rows of these numbers ask for something else; nothing else in
    /// it differs. One that waits in the queue is canceled. None if there is no such data set.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Unreachable`], and then the same call is safe.
    pub async fn replace_chunk(
        &self,
        id: &BatchId,
        chunk: u64,
        before: &str,
        after: &str,
        rows: &[u64],
    ) -> Result<Option<Replaced>, Error> {
        let mut command = self.function(id.shard(), "dataset_replace");
        command.arg(id.bytes()).arg(chunk).arg(before).arg(after).arg(self.0.config.retention_ms()).arg(rows);
        let value: Value = self.0.connection.accept(&command).await?;
        let Some(mut reply) = Reply::of(value)? else { return Ok(None) };
        let word: String = reply.next()?;
        Ok(Some(match word.as_str() {
            "replaced" => Replaced::Done,
            "kept" => Replaced::Kept(kept(reply)?),
            _ => Replaced::Moved,
        }))
    }
}

fn kept(reply: Reply) -> Result<Vec<(u64, Kept)>, Error> {
    let values: Vec<String> = reply.all()?;
    let one = |[row, why]: &[String; 2]| {
        let row = row.parse().map_err(|_| Error::Unreadable(format!("{row:?} is no row")))?;
        let why = match why.as_str() {
            "succeeded" => Kept::Succeeded,
            "running" => Kept::Running,
            _ => Kept::Passes,
        };
        Ok((row, why))
    };
    values.as_chunks::<2>().0.iter().map(one).collect()
}
