//! A tenant's jobs, the newest first, a page at a time.
//!
//! Redis keeps the ids of a tenant's jobs in the order in which they were accepted: twenty bytes a job, one
//! push a submission, and every API process sees the same. A list in each process instead would have to
//! be read at its start from all records, which takes minutes where there are millions.

use std::fmt;
use std::str::FromStr;

use redis::Value;

use crate::reply::Reply;
use crate::submit::check_tenant;
use crate::{BatchId, Class, Error, JobId, JobView, NotAnId, Queue, State};

/// Calls of Redis that one page takes at most, each of which looks at some hundred jobs.
const CALLS: usize = 50;

/// Which of a tenant's jobs are wanted, and how many; what is not set leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct Browse {
    /// Whose jobs.
    pub tenant: String,
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this class.
    pub class: Option<Class>,
    /// Only those of this batch.
    pub batch: Option<BatchId>,
    /// How many make a page.
    pub enough: usize,
    /// Where the page before ended, under the same filter.
    pub after: Option<BrowseCursor>,
}

/// Where a page ended. What its text means is nobody else's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrowseCursor {
    /// Before this place in the order of acceptance.
    Place(u64),
    /// Before this job.
    Job(JobId),
}

impl fmt::Display for BrowseCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => write!(f, "p{place}"),
            Self::Job(id) => write!(f, "j{id}"),
        }
    }
}

impl FromStr for BrowseCursor {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let read = || match text.split_at_checked(1)? {
            // More digits than a place can have are not ours, and Lua would round them.
            ("p", place) if place.len() <= 15 => place.parse().ok().map(Self::Place),
            ("j", id) => id.parse().ok().map(Self::Job),
            _ => None,
        };
        read().ok_or_else(|| NotAnId::new(text))
    }
}

/// Some of the jobs that are wanted, the newest first.
#[derive(Debug, Clone, Default)]
pub struct BrowsePage {
    /// The jobs: as many as are enough, or fewer although more follow.
    pub jobs: Vec<JobView>,
    /// Where to go on; none at the end.
    pub next: Option<BrowseCursor>,
}

impl Queue {
    /// The next of a tenant's jobs that are wanted. However many there are, Redis is held up but a moment at
    /// a time. A job that changes meanwhile may be found as it was before or after; none is found twice.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn browse(&self, wanted: &Browse) -> Result<BrowsePage, Error> {
        check_tenant(&wanted.tenant)?;
        let shard = self.shard_of(&wanted.tenant);
        if wanted.batch.is_some_and(|batch| batch.shard() != shard) {
            return Ok(BrowsePage::default());
        }
        if wanted.state == Some(State::Running) {
            return self.browse_running(shard, wanted).await;
        }
        let mut place = match wanted.after {
            Some(BrowseCursor::Place(place)) => Some(place),
            // It is of another filter: whoever mixes them up begins anew.
            _ => None,
        };
        let mut page = BrowsePage::default();
        for _ in 0..CALLS {
            let next = self.browse_some(shard, wanted, place, &mut page.jobs).await?;
            page.next = (next > 0).then_some(BrowseCursor::Place(next));
            if next == 0 || page.jobs.len() >= wanted.enough {
                break;
            }
            place = Some(next);
        }
        Ok(page)
    }

    /// Adds what one call finds; gives the place to go on from, 0 at the end.
    async fn browse_some(
        &self,
        shard: u16,
        wanted: &Browse,
        place: Option<u64>,
        jobs: &mut Vec<JobView>,
    ) -> Result<u64, Error> {
        let mut command = self.function(shard, "browse");
        command.arg(&wanted.tenant).arg(wanted.state.map_or("", State::as_str));
        command.arg(wanted.class.map_or("", Class::as_str));
        command.arg(wanted.batch.as_ref().map_or(&b""[..], |batch| batch.bytes()));
        command.arg(place.map(|place| place.to_string()).unwrap_or_default());
        command.arg(wanted.enough - jobs.len());
        let mut reply = Reply::list(self.0.connection.call::<Value>(&command).await?)?;
        let next = reply.next()?;
        jobs.extend(readable(shard, reply));
        Ok(next)
    }

    /// Jobs that run are few, and found by their leases.
    async fn browse_running(&self, shard: u16, wanted: &Browse) -> Result<BrowsePage, Error> {
        let mut ids = self.running(shard, wanted).await?;
        if let Some(BrowseCursor::Job(last)) = wanted.after {
            ids.retain(|id| *id < last);
        }
        let mut page = BrowsePage::default();
        for part in ids.chunks(wanted.enough.max(1)) {
            for view in self.views(shard, part).await? {
                let is_wanted = view.state == State::Running && view.tenant == wanted.tenant;
                if is_wanted && wanted.batch.is_none_or(|batch| view.batch == Some(batch)) {
                    page.jobs.push(view);
                }
            }
            if page.jobs.len() >= wanted.enough {
                break;
            }
        }
        page.jobs.truncate(wanted.enough);
        let last = page.jobs.last().map(|view| view.id).filter(|_| page.jobs.len() == wanted.enough);
        page.next = last.filter(|last| ids.last() != Some(last)).map(BrowseCursor::Job);
        Ok(page)
    }

    /// A tenant's jobs with a lease, the newest first.
    async fn running(&self, shard: u16, wanted: &Browse) -> Result<Vec<JobId>, Error> {
        let (mut cursor, mut ids) = ("0".to_owned(), Vec::new());
        loop {
            let mut command = self.function(shard, "running");
            command.arg(&wanted.tenant).arg(wanted.class.map_or("", Class::as_str)).arg(&cursor);
            let mut reply = Reply::list(self.0.connection.call::<Value>(&command).await?)?;
            cursor = reply.next()?;
            for id in reply.all::<Vec<u8>>()? {
                ids.push(JobId::read(shard, &id)?);
            }
            if cursor == "0" {
                break;
            }
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        Ok(ids)
    }

    /// Those of the jobs of a shard that are there.
    async fn views(&self, shard: u16, ids: &[JobId]) -> Result<Vec<JobView>, Error> {
        let mut command = self.function(shard, "views");
        for id in ids {
            command.arg(id.bytes());
        }
        let reply = Reply::list(self.0.connection.call::<Value>(&command).await?)?;
        Ok(readable(shard, reply).collect())
    }
}

/// The jobs of an answer; one whose record is broken is left to operators.
fn readable(shard: u16, reply: Reply) -> impl Iterator<Item = JobView> {
    reply.rest().filter_map(move |found| {
        let mut found = Reply::list(found).ok()?;
        let id = JobId::read(shard, &found.next::<Vec<u8>>().ok()?).ok()?;
        JobView::read(id, found)
            .inspect_err(|error| tracing::warn!(job.id = %id, %error, "a record cannot be read"))
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::BrowseCursor;
    use crate::JobId;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        for cursor in [BrowseCursor::Place(0), BrowseCursor::Place(123), BrowseCursor::Job(JobId::new(3))] {
            assert_eq!(cursor.to_string().parse::<BrowseCursor>().unwrap(), cursor);
        }
        for text in ["", "p", "p-1", "p1.5", "x1", "j", "jx", "p1234567890123456", "ä1"] {
            assert!(text.parse::<BrowseCursor>().is_err(), "{text:?}");
        }
    }
}
