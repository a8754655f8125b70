//! The life of a job, kept in Redis Streams.
//!
//! A producer [`Queue::submit`]s a [`JobSpec`]; it waits in its tenant's backlog. A worker
//! [`Queue::claim`]s the best waiting job and gets a [`Lease`], which a [`Keeper`] renews while the
//! device works. [`Lease::progress`] reports steps; [`Lease::complete`], [`Lease::fail`] or
//! [`Lease::release`] end the attempt. A worker that dies renews nothing: any process that calls
//! [`Queue::reap`] gives its job back. Each change is one call of a Redis function
//! (`migrations/0001_jobs.lua`, where the keys are explained), checked against the lease's fence and
//! token, so what a lost worker still says changes nothing.
//!
//! Everything that happens is an event in one stream a shard ([`Queue::tail`]); what is, is a record
//! ([`Queue::view`]).

mod claim;
mod connection;
mod error;
mod events;
mod job;
mod lease;
mod migrate;
pub mod private_redis;
mod spec;
mod wake;

pub use claim::{Reaped, WorkerId};
pub use connection::{Config, Durability};
pub use error::Error;
pub use events::{EventId, EventKind, EventTail, JobEvent};
pub use job::{Failure, JobId, JobView, NotAJobId, Output, State};
pub use lease::{Keeper, Lease};
pub use migrate::LAYOUT;
pub use spec::{
    Class, Defaults, FieldError, Format, JobSpec, MAX_METADATA, MAX_PROMPT, MAX_SEED, MAX_STYLES, Source,
};
pub use wake::Wakeups;

use std::sync::Arc;

use connection::Connection;
use job::Record;

/// A handle on the queue; cheap to clone.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    connection: Connection,
    config: Config,
    root: String,
    durability: Durability,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The job.
    pub id: JobId,
    /// Whether this call made it.
    pub fresh: bool,
}

/// Jobs of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs with a lease.
    pub running: u64,
}

impl Queue {
    /// Connects, and refuses a server that is too old or would evict accepted jobs.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Unsafe`] with what to change.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let connection = Connection::open(&config).await?;
        let durability = connection.inspect().await?;
        let root = format!("{{{}:0}}", config.prefix);
        Ok(Self(Arc::new(Inner { connection, config, root, durability })))
    }

    /// Loads the function library of this version. Safe to repeat, also at once from many processes.
    ///
    /// # Errors
    /// [`Error::NewerLayout`] if the data belongs to a newer version.
    pub async fn migrate(&self) -> Result<(), Error> {
        migrate::run(&self.0.connection, &self.0.root).await
    }

    /// What survives when the machine under Redis stops.
    pub fn durability(&self) -> Durability {
        self.0.durability
    }

    /// The settings it was connected with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0.connection.run(&redis::cmd("PING")).await
    }

    /// Accepts a job. Once this returns, the job ends in exactly one terminal state.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Unreachable`]; then it is not known whether the job was accepted.
    pub async fn submit(&self, tenant: &str, spec: &JobSpec) -> Result<Submitted, Error> {
        let id = JobId::new();
        let text = serde_json::to_string(spec).map_err(|error| Error::Unreadable(error.to_string()))?;
        let mut command = self.function("submit");
        command.arg(id.to_string()).arg(tenant).arg(spec.class.as_str()).arg(spec.priority).arg(text);
        let fresh: bool = self.0.connection.call(&command).await?;
        Ok(Submitted { id, fresh })
    }

    /// What is known of a job, or none if there is no such job or its record's time is over.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Unreadable`] for a broken record.
    pub async fn view(&self, id: &JobId) -> Result<Option<JobView>, Error> {
        let record: Option<String> =
            self.0.connection.call(self.function("view").arg(id.to_string())).await?;
        let Some(record) = record else { return Ok(None) };
        serde_json::from_str::<Record>(&record)
            .and_then(Record::into_view)
            .map(Some)
            .map_err(|error| Error::Unreadable(format!("record of job {id}: {error}")))
    }

    /// Waiting and running jobs of each class, in the order of [`Class::ALL`].
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn depth(&self) -> Result<[(Class, Depth); 2], Error> {
        let [queued, running, bulk_queued, bulk_running]: [u64; 4] =
            self.0.connection.call(&self.function("depth")).await?;
        Ok([
            (Class::Interactive, Depth { queued, running }),
            (Class::Bulk, Depth { queued: bulk_queued, running: bulk_running }),
        ])
    }

    /// Follows all events after `after`, or from now on, over a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn tail(&self, after: Option<EventId>) -> Result<EventTail, Error> {
        EventTail::open(self, after).await
    }

    /// A call of one of our functions on this shard, arguments still to come.
    fn function(&self, name: &str) -> redis::Cmd {
        let mut command = redis::cmd("FCALL");
        command.arg(format!("uso_{LAYOUT}_{name}")).arg(1).arg(&self.0.root);
        command
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.0.root)
    }

    async fn waiting_connection(&self) -> Result<redis::aio::MultiplexedConnection, Error> {
        self.0.connection.waiting().await
    }
}
