//! The handle on the queue: its connection, its shards and their keys.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::redis::{Connection, LAYOUT, migrate};
use crate::{Config, Durability, Error};

/// A handle on the queue; cheap to clone.
#[derive(Clone)]
pub struct Queue(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) connection: Connection,
    pub(crate) config: Config,
    /// First part of every key, for each shard.
    pub(crate) roots: Vec<String>,
    /// Counts claims, so that each begins at another shard.
    pub(crate) turn: AtomicUsize,
    /// Tokens of claims that got no answer, by worker and shard: they may have been carried out.
    pub(crate) unanswered: Mutex<HashMap<(String, u16), Uuid>>,
}

impl Queue {
    /// Connects, and refuses a server that is too old or would evict accepted jobs.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Unsafe`] or [`Error::Settings`] with what to change;
    /// [`Error::WrongShards`]; [`Error::NewerLayout`].
    pub async fn connect(config: Config) -> Result<Self, Error> {
        config.check()?;
        let connection = Connection::open(&config, migrate::library()).await?;
        let roots: Vec<String> =
            (0..config.shards.max(1)).map(|shard| format!("{{{}:{shard}}}", config.prefix)).collect();
        migrate::check(&connection, &roots).await?;
        let (turn, unanswered) = (AtomicUsize::new(0), Mutex::default());
        Ok(Self(Arc::new(Inner { connection, config, roots, turn, unanswered })))
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

    /// Checks the server again: what it promises may have changed, and one that a fail-over or an operator has
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
            let _: u8 = self.0.connection.call(redis::cmd("EXISTS").arg(self.key(shard, "layout"))).await?;
        }
        Ok(())
    }

    /// The time by Redis' clock, in milliseconds since the epoch: that of every time in the queue.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn now_ms(&self) -> Result<u64, Error> {
        let (seconds, micros): (u64, u64) = self.0.connection.call(&redis::cmd("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
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
    pub(crate) fn function(&self, shard: u16, name: &str) -> redis::Cmd {
        let mut command = redis::cmd("FCALL");
        command.arg(format!("uso_{LAYOUT}_{name}")).arg(1).arg(self.root(shard));
        command
    }

    pub(crate) fn key(&self, shard: u16, name: &str) -> String {
        format!("{}:{name}", self.root(shard))
    }

    fn root(&self, shard: u16) -> String {
        match self.0.roots.get(usize::from(shard)) {
            Some(root) => root.clone(),
            None => format!("{{{}:{shard}}}", self.0.config.prefix),
        }
    }
}
