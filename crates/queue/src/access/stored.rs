//! Files that tenants store: counted, because storing costs, too.

use uuid::Uuid;

use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{Error, Queue, Rejection};

/// A file that a tenant is about to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFile {
    /// Its name; one that is stored already costs nothing.
    pub id: Uuid,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Queue {
    /// Counts a file that a tenant is about to upload against its rate and against what it may store.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`Rejection::TooFast`] or [`Rejection::TooMuchStored`]; [`Error::Full`],
    /// [`Error::Unreachable`].
    pub async fn count_upload(&self, tenant: &str, file: NewFile) -> Result<(), Error> {
        self.count_files(tenant, 1, &[file]).await
    }

    /// Counts files that come with a job, all or none, against what a tenant may store: the job itself counts against
    /// its rate.
    ///
    /// # Errors
    /// As [`Queue::count_upload`].
    pub async fn count_enclosed(&self, tenant: &str, files: &[NewFile]) -> Result<(), Error> {
        self.count_files(tenant, 0, files).await
    }

    async fn count_files(&self, tenant: &str, tokens: u32, files: &[NewFile]) -> Result<(), Error> {
        check_tenant(tenant)?;
        let shard = self.shard_of(tenant);
        let mut command = self.function(shard, "store");
        command.arg(tenant).arg(tokens);
        for file in files {
            command.arg(&file.id.as_bytes()[..]).arg(file.bytes);
        }
        let mut reply = Reply::list(self.0.connection.call(&command).await?)?;
        let word: String = reply.next()?;
        if word == "stored" { Ok(()) } else { Err(Rejection::read(shard, &word, reply)?.into()) }
    }

    /// Says that a file is stored no more.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn uncount_file(&self, tenant: &str, id: &Uuid) -> Result<(), Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "unstore");
        command.arg(tenant).arg(&id.as_bytes()[..]);
        let _: u8 = self.0.connection.call(&command).await?;
        Ok(())
    }

    /// Whether a tenant's limits would let so many new jobs in now; a submission a moment later may still be refused.
    ///
    /// # Errors
    /// [`Error::Rejected`] with what would refuse them; [`Error::Unreachable`].
    pub async fn would_accept(&self, tenant: &str, jobs: usize) -> Result<(), Error> {
        check_tenant(tenant)?;
        let shard = self.shard_of(tenant);
        let mut command = self.function(shard, "refusal");
        let refusal = Reply::of(self.0.connection.call(command.arg(tenant).arg(jobs)).await?)?;
        let Some(mut reply) = refusal else { return Ok(()) };
        let word: String = reply.next()?;
        Err(Rejection::read(shard, &word, reply)?.into())
    }
}
