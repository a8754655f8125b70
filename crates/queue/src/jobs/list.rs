//! Jobs that are asked for, a page at a time: a tenant's, the newest first, or those of the whole queue.
//!
//! Redis keeps the ids of a tenant's jobs in the order in which they were accepted: twenty bytes a job, one push a
//! submission, and every API process sees the same. To keep them in each process instead would mean to read all
//! records at its start, which takes minutes where there are millions. The whole queue is gone through record by
//! record, which is for operators and for what is done every few hours.

use std::fmt;
use std::str::FromStr;

use redis::Value;

use crate::reply::Reply;
use crate::schema::text_schema;
use crate::tenant::check_tenant;
use crate::{BatchId, Class, Error, JobId, JobView, NotAnId, Queue, State};

/// Calls of Redis that one page takes at most, each of which looks at some hundred jobs.
const CALLS: usize = 50;

/// The same for a page of the whole queue.
const SCANS: usize = 25;

/// Jobs whose owner one call looks up.
const OWNED: usize = 200;

/// Which jobs are wanted, and how many; what is not set leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this class.
    pub class: Option<Class>,
    /// Only those of this batch.
    pub batch: Option<BatchId>,
    /// How many jobs make a page.
    pub enough: usize,
    /// Where the page before ended, under the same filter.
    pub after: Option<ListCursor>,
}

/// Where a page ended. What its text means is nobody else's business; only that of a tenant's page can be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListCursor {
    /// Before this index in the order in which a tenant's jobs were accepted.
    Index(u64),
    /// Before this job of a tenant's.
    Job(JobId),
    /// In the whole queue.
    Scan {
        /// The shard.
        shard: u16,
        /// Redis' own cursor within the shard.
        at: u64,
    },
}

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "p{index}"),
            Self::Job(id) => write!(f, "j{id}"),
            Self::Scan { shard, at } => write!(f, "s{shard}-{at}"),
        }
    }
}

impl FromStr for ListCursor {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let read = || match text.split_at_checked(1)? {
            // More digits than an index can have are not ours, and Lua would round them.
            ("p", index) if index.len() <= 15 => index.parse().ok().map(Self::Index),
            ("j", id) => id.parse().ok().map(Self::Job),
            _ => None,
        };
        read().ok_or_else(|| NotAnId::new(text))
    }
}

/// Some of the jobs that are wanted.
#[derive(Debug, Clone, Default)]
pub struct JobPage {
    /// The jobs. Of a tenant's, the newest first, at most as many as are enough. Of the whole queue, by shard and age,
    /// perhaps a few more than enough. Either may have fewer, or none, although more follow.
    pub jobs: Vec<JobView>,
    /// Jobs met on the way whose records cannot be read; it is not known whether they are wanted.
    pub unreadable: Vec<JobId>,
    /// Where to go on; none at the end.
    pub next: Option<ListCursor>,
}

impl JobPage {
    /// Adds what one call found.
    fn add(&mut self, shard: u16, found: Reply) -> Result<(), Error> {
        for found in found.rest() {
            let mut found = Reply::list(found)?;
            // A name that is no job's is not ours.
            let Ok(id) = JobId::read(shard, &found.next::<Vec<u8>>()?) else { continue };
            match JobView::read(id, found) {
                Ok(view) => self.jobs.push(view),
                Err(_) => self.unreadable.push(id),
            }
        }
        Ok(())
    }
}

impl Queue {
    /// The next jobs that are wanted. However many jobs there are, Redis is held up but a moment at a time and a page
    /// comes soon. A job that changes meanwhile may be found as it was before or after. Over all pages each job that
    /// is there all the time is found: of a tenant's once, of the whole queue's perhaps on two pages.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn list(&self, filter: &ListFilter) -> Result<JobPage, Error> {
        let Some(tenant) = &filter.tenant else { return self.list_all(filter).await };
        check_tenant(tenant)?;
        let shard = self.shard_of(tenant);
        if filter.batch.is_some_and(|batch| batch.shard() != shard) {
            return Ok(JobPage::default());
        }
        let page = match filter.state {
            Some(State::Running) => self.list_running(shard, tenant, filter).await?,
            _ => self.list_newest(shard, tenant, filter).await?,
        };
        for id in &page.unreadable {
            tracing::warn!(job.id = %id, "a record cannot be read");
        }
        Ok(page)
    }

    async fn list_newest(&self, shard: u16, tenant: &str, filter: &ListFilter) -> Result<JobPage, Error> {
        let mut index = match filter.after {
            Some(ListCursor::Index(index)) => Some(index),
            // It is of another filter: whoever mixes them up begins anew.
            _ => None,
        };
        let mut page = JobPage::default();
        for _ in 0..CALLS {
            let mut command = self.function(shard, "browse");
            command.arg(tenant).arg(filter.state.map_or("", State::as_str));
            command.arg(filter.class.map_or("", Class::as_str));
            command.arg(filter.batch.as_ref().map_or(&b""[..], |batch| batch.bytes()));
            command.arg(index.map(|index| index.to_string()).unwrap_or_default());
            command.arg(filter.enough - page.jobs.len());
            let mut reply = Reply::list(self.0.connection.call::<Value>(&command).await?)?;
            let next: u64 = reply.next()?;
            page.add(shard, reply)?;
            page.next = (next > 0).then_some(ListCursor::Index(next));
            if next == 0 || page.jobs.len() >= filter.enough {
                break;
            }
            index = Some(next);
        }
        Ok(page)
    }

    /// Jobs that run are few, and found by their leases.
    async fn list_running(&self, shard: u16, tenant: &str, filter: &ListFilter) -> Result<JobPage, Error> {
        let mut ids = self.running(shard, tenant, filter.class).await?;
        if let Some(ListCursor::Job(last)) = filter.after {
            ids.retain(|id| *id < last);
        }
        let mut page = JobPage::default();
        for part in ids.chunks(filter.enough.max(1)) {
            let mut command = self.function(shard, "views");
            for id in part {
                command.arg(id.bytes());
            }
            page.add(shard, Reply::list(self.0.connection.call::<Value>(&command).await?)?)?;
            page.jobs.retain(|view| {
                let is_wanted = view.state == State::Running && view.tenant == tenant;
                is_wanted && filter.batch.is_none_or(|batch| view.batch == Some(batch))
            });
            if page.jobs.len() >= filter.enough {
                break;
            }
        }
        page.jobs.truncate(filter.enough);
        let last = page.jobs.last().map(|view| view.id).filter(|_| page.jobs.len() == filter.enough);
        page.next = last.filter(|last| ids.last() != Some(last)).map(ListCursor::Job);
        Ok(page)
    }

    /// A tenant's jobs with a lease, the newest first.
    async fn running(&self, shard: u16, tenant: &str, class: Option<Class>) -> Result<Vec<JobId>, Error> {
        let (mut cursor, mut ids) = ("0".to_owned(), Vec::new());
        loop {
            let mut command = self.function(shard, "running");
            command.arg(tenant).arg(class.map_or("", Class::as_str)).arg(&cursor);
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

    async fn list_all(&self, filter: &ListFilter) -> Result<JobPage, Error> {
        let shards = filter.batch.map_or(self.shards(), |batch| batch.shard()..batch.shard() + 1);
        let (mut shard, mut at) = match filter.after {
            Some(ListCursor::Scan { shard, at }) => (shard, at),
            _ => (shards.start, 0),
        };
        let mut page = JobPage::default();
        for _ in 0..SCANS {
            at = self.scan(filter, shard, at, &mut page).await?;
            if at == 0 {
                shard += 1;
            }
            page.next = shards.contains(&shard).then_some(ListCursor::Scan { shard, at });
            if page.next.is_none() || page.jobs.len() >= filter.enough {
                break;
            }
        }
        page.jobs.sort_by_key(|job| job.id);
        page.jobs.dedup_by_key(|job| job.id);
        Ok(page)
    }

    /// Adds what one call finds; gives the cursor within the shard, 0 at its end.
    async fn scan(&self, filter: &ListFilter, shard: u16, at: u64, page: &mut JobPage) -> Result<u64, Error> {
        let mut command = self.function(shard, "list");
        command.arg(at).arg(filter.state.map_or("", State::as_str));
        command.arg("").arg(filter.class.map_or("", Class::as_str));
        command.arg(filter.batch.as_ref().map_or(&b""[..], |batch| batch.bytes()));
        let mut reply = Reply::list(self.0.connection.call::<Value>(&command).await?)?;
        let next = reply.next()?;
        page.add(shard, reply)?;
        Ok(next)
    }

    /// Those of the ids whose jobs are the tenant's.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn owned(&self, tenant: &str, ids: &[JobId]) -> Result<Vec<JobId>, Error> {
        check_tenant(tenant)?;
        // All jobs of a tenant are in its shard.
        let shard = self.shard_of(tenant);
        let near: Vec<&JobId> = ids.iter().filter(|id| id.shard() == shard).collect();
        let mut owned = Vec::new();
        for some in near.chunks(OWNED) {
            let mut command = self.function(shard, "owned");
            command.arg(tenant);
            some.iter().for_each(|id| {
                command.arg(id.bytes());
            });
            let found: Vec<Vec<u8>> = self.0.connection.call(&command).await?;
            for bytes in found {
                owned.push(JobId::read(shard, &bytes)?);
            }
        }
        Ok(owned)
    }
}

text_schema! {
    ListCursor: "Where a page of jobs ended; what it means is nobody else's business.",
        "^(p[0-9]{1,15}|j(0|[1-9][0-9]{0,3})-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
        "p17";
}

#[cfg(test)]
mod tests {
    use super::ListCursor;
    use crate::JobId;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        for cursor in [ListCursor::Index(0), ListCursor::Index(123), ListCursor::Job(JobId::new(3))] {
            assert_eq!(cursor.to_string().parse::<ListCursor>().unwrap(), cursor);
        }
        let scan = ListCursor::Scan { shard: 0, at: 7 }.to_string();
        for text in ["", "p", "p-1", "p1.5", "x1", "j", "jx", "p1234567890123456", "ä1", &scan] {
            assert!(text.parse::<ListCursor>().is_err(), "{text:?}");
        }
    }
}
