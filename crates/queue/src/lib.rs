#![doc = include_str!("../README.md")]

mod access;
mod audit;
mod backoff;
mod batch;
mod browse;
mod claim;
mod connection;
mod dead;
mod ending;
mod error;
mod events;
mod id;
mod job;
mod keeper;
mod lease;
mod list;
mod migrate;
mod place;
mod reap;
mod receipt;
mod repeat;
mod reply;
mod schema;
mod source;
mod spec;
mod steer;
mod stored;
mod submit;
mod wake;
mod webhook;
mod window;
mod worker;

pub use access::{ApiKey, KeyScope, KeyView, LinkSecret, MAX_NOTE, NewKey, NotAKey, SessionToken};
pub use audit::{Audit, Fault, History};
pub use backoff::Backoff;
pub use batch::{BatchCounts, BatchOperation, BatchSubmitted, BatchView, NewBatch};
pub use browse::{Browse, BrowseCursor, BrowsePage};
pub use claim::{Claim, WorkerId};
pub use connection::{Config, Durability};
pub use dead::{DeadLetter, LetterId};
pub use ending::{Canceled, Removed, Retried};
pub use error::Error;
pub use events::{EventId, EventKind, EventTail, JobEvent};
pub use id::{BatchId, JobId, NotAnId};
pub use job::{Blocked, Checkpoint, Failure, JobView, Output, State};
pub use keeper::{Keeper, Renewer};
pub use lease::{Lease, MAX_CHECKPOINT, MAX_PREVIEW};
pub use list::{JobPage, ListCursor, ListFilter};
pub use migrate::LAYOUT;
pub use place::Place;
pub use reap::Reaped;
pub use receipt::{PromptTokens, Receipt, TokenCount, UsedLora};
pub use repeat::EarlierJob;
pub use schema::Time;
pub use source::Source;
pub use spec::{
    Class, Defaults, FieldError, Format, GUIDANCE, JobSpec, LORA_WEIGHT, Lora, MAX_LORAS, MAX_METADATA,
    MAX_PROMPT, MAX_SEED, MAX_STYLES, MAX_URL, SIDE, STEP_CACHE, STEPS,
};
pub use steer::{Depth, Limits, Scope, Stats, TenantView};
pub use stored::NewFile;
pub use submit::{Allowance, MAX_JOBS, MAX_KEY, Rejection, Submission, Submitted};
pub use wake::Wakeups;
pub use webhook::{
    Attempt, ClaimedDelivery, DEFAULT_WEBHOOK, Delivery, Next, Webhook, WebhookSecret, WebhookShape,
};
pub use window::{Window, WindowView};
pub use worker::{WorkerLora, WorkerReport, WorkerState};

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use sha2::{Digest, Sha256};

use connection::Connection;

/// A handle on the queue; cheap to clone.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    connection: Connection,
    config: Config,
    /// First part of every key, for each shard.
    roots: Vec<String>,
    /// Counts claims, so that each begins at another shard.
    turn: AtomicUsize,
}

impl Queue {
    /// Connects, and refuses a server that is too old or would evict accepted jobs.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Unsafe`] or [`Error::Settings`] with what to change;
    /// [`Error::WrongShards`]; [`Error::NewerLayout`].
    pub async fn connect(config: Config) -> Result<Self, Error> {
        config.check()?;
        let connection = Connection::open(&config).await?;
        let roots: Vec<String> =
            (0..config.shards.max(1)).map(|shard| format!("{{{}:{shard}}}", config.prefix)).collect();
        migrate::check(&connection, &roots).await?;
        let turn = AtomicUsize::new(0);
        Ok(Self(Arc::new(Inner { connection, config, roots, turn })))
    }

    /// Loads the function library of this version, and fixes the number of shards. Safe to repeat, also at
    /// once from many processes.
    ///
    /// # Errors
    /// [`Error::NewerLayout`] if the data belongs to a newer version; [`Error::WrongShards`]; [`Error::Settings`] if the
    /// user may not call functions.
    pub async fn migrate(&self) -> Result<(), Error> {
        migrate::run(&self.0.connection, &self.0.roots).await?;
        for shard in self.shards() {
            self.0.connection.call::<u64>(&self.function(shard, "clock")).await?;
        }
        Ok(())
    }

    /// Looks at the server again: what it promises may have changed, and one that a fail-over or an operator has
    /// emptied is given its functions and its layout anew.
    ///
    /// # Errors
    /// [`Error::Emptied`], once; [`Error::Unsafe`] with what to change; as [`Queue::migrate`].
    pub async fn inspect(&self) -> Result<(), Error> {
        self.0.connection.inspect().await?;
        let is_empty = !migrate::has_layout(&self.0.connection, &self.0.roots).await?;
        if is_empty {
            self.migrate().await?;
            return Err(Error::Emptied);
        }
        Ok(())
    }

    /// What survives when the machine under Redis stops, as the servers that are primaries now tell.
    pub fn durability(&self) -> Durability {
        self.0.connection.durability()
    }

    /// The settings it was connected with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether Redis answers, each primary that has a shard. Over the connections that there are: to ask makes none.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        for shard in self.shards() {
            let _: u8 = self.0.connection.run(redis::cmd("EXISTS").arg(self.key(shard, "layout"))).await?;
        }
        Ok(())
    }

    /// The time by Redis' clock, in milliseconds since 1970: that of every time in the queue.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn now_ms(&self) -> Result<u64, Error> {
        let (seconds, micros): (u64, u64) = self.0.connection.run(&redis::cmd("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Follows all events of a shard after `after`, or from now on, over a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn tail(&self, shard: u16, after: Option<EventId>) -> Result<EventTail, Error> {
        EventTail::open(self, shard, after).await
    }

    /// Follows the events of a batch's jobs after `after`, or from now on, over a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn tail_batch(&self, batch: &BatchId, after: Option<EventId>) -> Result<EventTail, Error> {
        Ok(EventTail::open(self, batch.shard(), after).await?.only(*batch))
    }

    /// The newest event of a shard.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn newest_event(&self, shard: u16) -> Result<EventId, Error> {
        let range = events::newest(&self.key(shard, "events"));
        Ok(events::first(&self.0.connection.run(&range).await?))
    }

    /// The shards there are.
    pub fn shards(&self) -> Range<u16> {
        0..self.0.roots.len() as u16
    }

    /// Where a tenant's jobs live: all in one shard, so that its limits are exact.
    pub fn shard_of(&self, tenant: &str) -> u16 {
        let digest = Sha256::digest(tenant.as_bytes());
        (u64::from_be_bytes(std::array::from_fn(|i| digest[i])) % self.0.roots.len() as u64) as u16
    }

    /// A call of one of our functions on a shard, arguments still to come. A shard that is not there
    /// has no jobs either.
    fn function(&self, shard: u16, name: &str) -> redis::Cmd {
        let mut command = redis::cmd("FCALL");
        command.arg(format!("uso_{LAYOUT}_{name}")).arg(1).arg(self.root(shard));
        command
    }

    fn key(&self, shard: u16, name: &str) -> String {
        format!("{}:{name}", self.root(shard))
    }

    fn root(&self, shard: u16) -> String {
        match self.0.roots.get(usize::from(shard)) {
            Some(root) => root.clone(),
            None => format!("{{{}:{shard}}}", self.0.config.prefix),
        }
    }
}
