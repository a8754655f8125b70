//! How to reach the queue, and its times.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Backoff, Error};

/// A link to Redis that is silent for so long costs no lease.
const SILENCE: Duration = Duration::from_secs(9);

/// What is left of a lease after a silence and the beat before it: time for an answer.
const ANSWER: Duration = Duration::from_millis(500);

/// Slower beats would leave too little of a lease.
const SLOWEST_BEAT: Duration = Duration::from_secs(1);

/// How to reach the queue, and its times.
#[derive(Clone)]
pub struct Config {
    /// Where Redis is:
    /// - one server: `redis://[user:password@]host:port[/db]`;
    /// - a cluster: `redis+cluster://[user:password@]host:port[,host:port...]`, any of its nodes;
    /// - what sentinels watch: `redis+sentinel://[user:password@]host:port[,host:port...]/SERVICE[/db]`,
    ///   with the sentinels' addresses and the servers' user. What the sentinels themselves ask for goes
    ///   behind it: `?sentinel_user=...&sentinel_password=...`.
    ///
    /// With `rediss` in place of `redis`, over TLS. Special characters of a password are written `%XX`.
    pub url: String,
    /// A PEM file with the CAs to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// First part of every key.
    pub prefix: String,
    /// Parts that the queue is split into by tenant, so that a Redis Cluster can spread them. Fixed with
    /// the first [`crate::Queue::migrate`].
    pub shards: u16,
    /// Replicas that must have new work before the client gets the answer that it is accepted; 0 waits for none.
    pub replicas: u32,
    /// How long a lease lasts without renewal: at least 10.5 s, so that a silent link of 9 s costs none. Nobody goes on
    /// with the job of a worker that has died before it is over.
    pub lease: Duration,
    /// How often all leases of a process are renewed; at most 1 s.
    pub renew: Duration,
    /// How long the record of an ended job is kept.
    pub retention: Duration,
    /// Attempts a job may spend.
    pub attempts: u32,
    /// How long a failed job waits before its next attempt.
    pub backoff: Backoff,
    /// While bulk work waits it gets at least one claim in this many.
    pub bulk_every: u32,
    /// Longest wait for Redis' answer to one command.
    pub timeout: Duration,
}

impl Config {
    /// The defaults for a Redis at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca: None,
            prefix: "uso".into(),
            shards: 1,
            replicas: 0,
            lease: SILENCE + SLOWEST_BEAT + ANSWER,
            renew: SLOWEST_BEAT,
            retention: Duration::from_secs(7 * 24 * 3600),
            attempts: 3,
            backoff: Backoff::default(),
            bulk_every: 20,
            timeout: Duration::from_secs(5),
        }
    }

    /// The prefix is part of keys, hash tags and patterns.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        if self.prefix.is_empty() || !self.prefix.bytes().all(plain) {
            let reason = "the prefix is one or more letters, digits, '.', '_', '-' or ':'";
            return Err(Error::Settings(reason.into()));
        }
        if self.renew.is_zero() || self.renew > SLOWEST_BEAT {
            let reason = format!("leases are renewed at least every {} ms", SLOWEST_BEAT.as_millis());
            return Err(Error::Settings(reason));
        }
        let shortest = SILENCE + SLOWEST_BEAT + ANSWER;
        if self.lease < shortest {
            let reason = format!("a lease lasts at least {} ms", shortest.as_millis());
            return Err(Error::Settings(reason));
        }
        Ok(())
    }

    pub(crate) fn retention_ms(&self) -> u64 {
        self.retention.as_millis() as u64
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may carry passwords.
        f.debug_struct("Config")
            .field("prefix", &self.prefix)
            .field("shards", &self.shards)
            .field("replicas", &self.replicas)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
