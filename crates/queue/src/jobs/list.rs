//! Jobs that have something in common, a page at a time.

use redis::Value;

use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{BatchId, Class, Error, JobId, JobView, Queue, State};

/// Calls of Redis that one page takes at most, each of which looks at a few hundred jobs.
const CALLS: usize = 25;

/// Jobs whose owner one call looks up.
const OWNED: usize = 200;

/// Which jobs are wanted, and how many; what is not set leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only those of this class.
    pub class: Option<Class>,
    /// Only those of this batch.
    pub batch: Option<BatchId>,
    /// How many make a page.
    pub enough: usize,
    /// Where the page before ended, under the same filter.
    pub after: Option<ListCursor>,
}

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    shard: u16,
    /// Redis' own cursor within the shard.
    at: u64,
}

/// Some of the jobs that are wanted.
#[derive(Debug, Clone, Default)]
pub struct JobPage {
    /// The jobs, by shard and age. They may be a few more than enough, and none although more follow.
    pub jobs: Vec<JobView>,
    /// Jobs met on the way whose records cannot be read; it is not known whether they are wanted.
    pub unreadable: Vec<JobId>,
    /// Where to go on; none at the end.
    pub next: Option<ListCursor>,
}

impl Queue {
    /// The next jobs that are wanted. However many jobs there are, Redis is held up but a moment at a time
    /// and a page comes soon. Over all pages each job that is there all the time is found; one that
    /// changes meanwhile may be found as it was before or after, and a few may come up on two pages.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn list(&self, filter: &ListFilter) -> Result<JobPage, Error> {
        filter.tenant.as_deref().map_or(Ok(()), check_tenant)?;
        let shards = match (&filter.batch, &filter.tenant) {
            (Some(batch), _) => batch.shard()..batch.shard() + 1,
            (None, Some(tenant)) => self.shard_of(tenant)..self.shard_of(tenant) + 1,
            (None, None) => self.shards(),
        };
        let mut page = JobPage::default();
        let mut cursor = filter.after.unwrap_or(ListCursor { shard: shards.start, at: 0 });
        for _ in 0..CALLS {
            cursor.at = self.list_some(filter, cursor, &mut page).await?;
            if cursor.at == 0 {
                cursor.shard += 1;
            }
            page.next = shards.contains(&cursor.shard).then_some(cursor);
            if page.next.is_none() || page.jobs.len() >= filter.enough {
                break;
            }
        }
        page.jobs.sort_by_key(|job| job.id);
        page.jobs.dedup_by_key(|job| job.id);
        Ok(page)
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

    /// Adds what one call finds; gives the cursor within the shard, 0 at its end.
    async fn list_some(
        &self,
        filter: &ListFilter,
        cursor: ListCursor,
        page: &mut JobPage,
    ) -> Result<u64, Error> {
        let mut command = self.function(cursor.shard, "list");
        command.arg(cursor.at).arg(filter.state.map_or("", State::as_str));
        command.arg(filter.tenant.as_deref().unwrap_or("")).arg(filter.class.map_or("", Class::as_str));
        command.arg(filter.batch.as_ref().map_or(&b""[..], |batch| batch.bytes()));
        let mut reply = Reply::list(self.0.connection.call::<Value>(&command).await?)?;
        let next = reply.next()?;
        for found in reply.rest() {
            let mut found = Reply::list(found)?;
            // A name that is no job's is not ours.
            let Ok(id) = JobId::read(cursor.shard, &found.next::<Vec<u8>>()?) else { continue };
            match JobView::read(id, found) {
                Ok(view) => page.jobs.push(view),
                Err(_) => page.unreadable.push(id),
            }
        }
        Ok(next)
    }
}
