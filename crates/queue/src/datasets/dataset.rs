//! What is kept of a data set, and how it is made.

use redis::Value;

use super::view::{Budget, DatasetView, SegmentView, ShardView};
use crate::answers::Fields;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{BatchId, Error, JobId, JobView, MAX_DATASET_NAME, Queue, Rejection};

/// Jobs that one call reads: more would hold Redis up.
const VIEWS: usize = 100;

/// A data set to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewDataset<'a> {
    /// Its name among those of the tenant, 1 to [`MAX_DATASET_NAME`] bytes.
    pub name: &'a str,
    /// How it is to be made, as the caller writes it.
    pub settings: &'a str,
    /// The submitter's own; null for nothing.
    pub metadata: &'a serde_json::Value,
    /// What it may cost.
    pub budget: Budget,
}

/// A data set that is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetCreated {
    /// Its batch.
    pub id: BatchId,
    /// Whether this call made it; else the tenant has had one of this name.
    pub fresh: bool,
}

impl Queue {
    /// Makes a data set without rows, or finds the tenant's of this name.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name or a tenant that cannot be one; [`Error::Full`]; [`Error::Unreachable`], and
    /// then the same call is safe.
    pub async fn create_dataset(&self, tenant: &str, new: &NewDataset<'_>) -> Result<DatasetCreated, Error> {
        check_tenant(tenant)?;
        if new.name.is_empty() || new.name.len() > MAX_DATASET_NAME {
            return Err(Rejection::DatasetName.into());
        }
        let id = BatchId::of_rows(self.shard_of(tenant));
        let metadata = if new.metadata.is_null() { String::new() } else { new.metadata.to_string() };
        let mut command = self.function(id.shard(), "dataset_create");
        command.arg(id.bytes()).arg(tenant).arg(new.name).arg(new.settings).arg(metadata);
        add_budget(&mut command, &new.budget);
        let mut reply = Reply::list(self.0.connection.accept(&command).await?)?;
        let word: String = reply.next()?;
        let id = BatchId::read(id.shard(), &reply.next::<Vec<u8>>()?)?;
        Ok(DatasetCreated { id, fresh: word == "created" })
    }

    /// Adds a chunk of rows that lies in the store; `chunk` tells how to find it. Gives the number of rows after it, or
    /// as it was if there were not `before` rows; none if there is no such data set.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Unreachable`].
    pub async fn extend_dataset(
        &self,
        id: &BatchId,
        before: u64,
        after: u64,
        chunk: &str,
    ) -> Result<Option<u64>, Error> {
        let mut command = self.function(id.shard(), "dataset_extend");
        command.arg(id.bytes()).arg(before).arg(after).arg(chunk);
        self.0.connection.accept(&command).await
    }

    /// Drops rows behind the first `rows`, as far as none of their chunk may be queued yet. Gives how many rows are left, or
    /// none if there is no such data set.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn discard_rows(&self, id: &BatchId, rows: u64) -> Result<Option<u64>, Error> {
        self.0.connection.call(self.function(id.shard(), "dataset_discard").arg(id.bytes()).arg(rows)).await
    }

    /// Lets the first `rows` rows be queued; never fewer than before. Gives how many may be, or none if there is no such
    /// data set.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Unreachable`].
    pub async fn start_dataset(&self, id: &BatchId, rows: u64) -> Result<Option<u64>, Error> {
        self.0.connection.accept(self.function(id.shard(), "dataset_start").arg(id.bytes()).arg(rows)).await
    }

    /// Changes what a data set may cost. Gives whether there is such a data set.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn set_budget(&self, id: &BatchId, budget: &Budget) -> Result<bool, Error> {
        let mut command = self.function(id.shard(), "dataset_budget");
        add_budget(command.arg(id.bytes()), budget);
        self.0.connection.accept(&command).await
    }

    /// What is known of a data set, or none if there is no such data set.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dataset(&self, id: &BatchId) -> Result<Option<DatasetView>, Error> {
        let value: Value =
            self.0.connection.call(self.function(id.shard(), "dataset").arg(id.bytes())).await?;
        Reply::of(value)?.map(|reply| DatasetView::read(Fields::of("dataset", reply)?)).transpose()
    }

    /// A tenant's data sets by name.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn datasets(&self, tenant: &str) -> Result<Vec<(String, BatchId)>, Error> {
        let shard = self.shard_of(tenant);
        let value: Value = self.0.connection.call(self.function(shard, "dataset_names").arg(tenant)).await?;
        let parts: Vec<Vec<u8>> = match value {
            Value::Map(pairs) => {
                Reply::list(Value::Array(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect()))?
            }
            list => Reply::list(list)?,
        }
        .all()?;
        let named = parts.as_chunks::<2>().0.iter().map(|[name, id]| {
            let name = String::from_utf8_lossy(name).into_owned();
            Ok((name, BatchId::read(shard, id)?))
        });
        let mut named = named.collect::<Result<Vec<_>, Error>>()?;
        named.sort();
        Ok(named)
    }

    /// Chunks of rows from the `first` on, as callers told of them.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dataset_chunks(&self, id: &BatchId, first: u64, most: u64) -> Result<Vec<String>, Error> {
        self.0.connection.call(&self.range(id, "dataset_chunks", first, most)).await
    }

    /// Segments of outcomes from the `first` on.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dataset_segments(
        &self,
        id: &BatchId,
        first: u64,
        most: u64,
    ) -> Result<Vec<SegmentView>, Error> {
        let value = self.0.connection.call(&self.range(id, "dataset_segments", first, most)).await?;
        let segments = Reply::list(value)?.rest().map(|segment| {
            let mut segment = Reply::list(segment)?;
            Ok(SegmentView {
                fence: segment.next()?,
                outcomes: segment.next()?,
                accepted: segment.next()?,
                lowest: segment.next()?,
                highest: segment.next()?,
            })
        });
        segments.collect()
    }

    /// Shards that take no more rows, from the `first` on.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn dataset_shards(&self, id: &BatchId, first: u32, most: u64) -> Result<Vec<ShardView>, Error> {
        let value = self.0.connection.call(&self.range(id, "dataset_shards", first.into(), most)).await?;
        let shards = Reply::list(value)?.rest().map(|shard| {
            let mut shard = Fields::read("dataset_shard", shard)?;
            Ok(ShardView {
                first: shard.take("first")?,
                last: shard.take("last")?,
                rows: shard.take("rows")?,
                bytes: shard.take("bytes")?,
                intent: shard.take("intent")?,
                committed: shard.take("committed")?,
                done: shard.take("done")?,
            })
        });
        shards.collect()
    }

    /// Rows' jobs that have ended and are in no segment yet, the first `most` of them.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Unreadable`] for a broken or a missing record.
    pub async fn dataset_outcomes(&self, id: &BatchId, most: u64) -> Result<Vec<JobView>, Error> {
        let ids: Vec<Vec<u8>> = self.0.connection.call(&self.range(id, "dataset_outcomes", 0, most)).await?;
        let mut jobs = Vec::with_capacity(ids.len());
        for ids in ids.chunks(VIEWS) {
            let mut command = self.function(id.shard(), "views");
            for job in ids {
                command.arg(job.as_slice());
            }
            for view in Reply::list(self.0.connection.call(&command).await?)?.rest() {
                let mut view = Reply::list(view)?;
                let job = JobId::read(id.shard(), &view.next::<Vec<u8>>()?)?;
                jobs.push(JobView::read(job, view)?);
            }
        }
        // Outcomes are archived by their number: with one left out, the others would be taken for their neighbours.
        if jobs.len() != ids.len() {
            let missing = ids.len() - jobs.len();
            return Err(Error::Unreadable(format!("{missing} ended rows of data set {id} have no record")));
        }
        Ok(jobs)
    }

    /// A call of a function that gives a part of a list.
    pub(super) fn range(&self, id: &BatchId, function: &str, first: u64, most: u64) -> redis::Cmd {
        let mut command = self.function(id.shard(), function);
        command.arg(id.bytes()).arg(first).arg(most);
        command
    }
}

fn add_budget(command: &mut redis::Cmd, budget: &Budget) {
    let limit = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    command.arg(limit(budget.pictures)).arg(limit(budget.device_seconds));
}
