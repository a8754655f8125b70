//! How this process speaks to Redis: one shared connection that heals itself, and functions by name.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue};

use crate::{Backoff, Error, migrate};

/// Oldest Redis with functions.
pub(crate) const OLDEST_REDIS: u32 = 7;

/// How to reach the queue, and its times.
#[derive(Clone)]
pub struct Config {
    /// `redis://[user:password@]host:port[/db]`.
    pub url: String,
    /// First part of every key.
    pub prefix: String,
    /// Parts that the queue is split into by tenant, so that a Redis Cluster can spread them.
    pub shards: u16,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How often a lease is renewed; at most a third of it.
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
            prefix: "uso".into(),
            shards: 1,
            lease: Duration::from_secs(10),
            renew: Duration::from_secs(3),
            retention: Duration::from_secs(7 * 24 * 3600),
            attempts: 3,
            backoff: Backoff::default(),
            bulk_every: 20,
            timeout: Duration::from_secs(5),
        }
    }

    pub(crate) fn retention_ms(&self) -> u64 {
        self.retention.as_millis() as u64
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may carry a password.
        f.debug_struct("Config")
            .field("prefix", &self.prefix)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// What survives when the machine under Redis stops, as far as Redis tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every accepted job: Redis waits for the disk before it answers.
    Fsync,
    /// All but up to two seconds of accepted jobs.
    EverySecond,
    /// What the last snapshot holds, or nothing.
    Volatile,
    /// The server does not say.
    Unknown,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fsync => "fsync: every accepted job is on disk before it is answered",
            Self::EverySecond => "everysec: up to two seconds of accepted jobs can be lost",
            Self::Volatile => "none: accepted jobs are lost when Redis stops",
            Self::Unknown => "unknown: the server does not show its persistence settings",
        })
    }
}

/// A connection to one Redis, shared by all callers of a process.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client,
    manager: ConnectionManager,
    timeout: Duration,
}

impl Connection {
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let client = Client::open(config.url.as_str())?;
        // A producer must fail fast while Redis is away; the next call tries anew.
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(100))
            .set_connection_timeout(Some(config.timeout.min(Duration::from_secs(1))))
            .set_response_timeout(Some(config.timeout));
        let connect = ConnectionManager::new_with_config(client.clone(), settings);
        let manager = bounded(config.timeout, connect).await?;
        Ok(Self { client, manager, timeout: config.timeout })
    }

    /// A connection of its own that may wait for an answer as long as it likes: the shared one has a
    /// time-out on every answer, and a blocked command would hold up everybody behind it.
    pub(crate) async fn waiting(&self) -> Result<MultiplexedConnection, Error> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None);
        bounded(self.timeout, self.client.get_multiplexed_async_connection_with_config(&settings)).await
    }

    /// Runs one command.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let mut manager = self.manager.clone();
        bounded(self.timeout, command.query_async(&mut manager)).await
    }

    /// Runs one command that calls a function. A node without our functions, new or restarted without
    /// its data, is given them once.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        match self.run(command).await {
            Err(Error::Refused(error)) if is_function_missing(&error) => {
                migrate::load(self).await?;
                self.run(command).await
            }
            answer => answer,
        }
    }

    /// Refuses a server that would lose what it accepts, and tells what it promises.
    pub(crate) async fn inspect(&self) -> Result<Durability, Error> {
        let server: String = self.run(redis::cmd("INFO").arg("server")).await?;
        check_version(&server)?;
        let Some(policy) = self.setting("maxmemory-policy").await? else {
            tracing::warn!("the server hides its settings; its eviction policy must be noeviction");
            return Ok(Durability::Unknown);
        };
        if policy != "noeviction" {
            let reason =
                format!("maxmemory-policy is {policy}: it would evict accepted jobs; set noeviction");
            return Err(Error::Unsafe(reason));
        }
        let appends = self.setting("appendonly").await?;
        let syncs = self.setting("appendfsync").await?;
        Ok(match (appends.as_deref(), syncs.as_deref()) {
            (None, _) | (_, None) => Durability::Unknown,
            (Some("yes"), Some("always")) => Durability::Fsync,
            (Some("yes"), Some("everysec")) => Durability::EverySecond,
            _ => Durability::Volatile,
        })
    }

    /// A server setting, or none where a managed service does not show it.
    async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        match self.run::<Vec<String>>(redis::cmd("CONFIG").arg("GET").arg(name)).await {
            Ok(pair) => Ok(pair.into_iter().nth(1)),
            Err(Error::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn bounded<T>(
    limit: Duration,
    answer: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Error::from),
        Err(_) => Err(Error::Unreachable(format!("no answer within {} ms", limit.as_millis()))),
    }
}

fn is_function_missing(error: &redis::RedisError) -> bool {
    error.to_string().contains("Function not found")
}

fn check_version(server: &str) -> Result<(), Error> {
    let version =
        server.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("unknown").trim();
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= OLDEST_REDIS => Ok(()),
        _ => Err(Error::Unsafe(format!(
            "version {version} has no functions; {OLDEST_REDIS}.0 or newer is needed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn an_older_redis_is_refused_by_version() {
        assert!(check_version("# Server\r\nredis_version:7.0.15\r\n").is_ok());
        assert!(check_version("redis_version:8.2.1").is_ok());
        let error = check_version("redis_version:6.2.14\r\n").unwrap_err().to_string();
        assert!(error.contains("6.2.14") && error.contains("7.0"), "{error}");
        assert!(check_version("").is_err());
    }
}
