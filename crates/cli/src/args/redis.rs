//! How the queue's Redis is reached.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct RedisArgs {
    /// The queue's Redis 7 or newer: redis://HOST:PORT, redis+cluster://HOST:PORT,HOST:PORT or
    /// redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, and with rediss the same over TLS. USER:PASSWORD@ goes
    /// before the hosts; what sentinels ask for themselves behind all: ?sentinel_password=PASSWORD.
    #[arg(long, env = "USO_REDIS", hide_env_values = true, value_name = "URL")]
    pub(crate) redis: String,
    #[command(flatten)]
    pub(crate) options: RedisOptions,
}

impl RedisArgs {
    pub(crate) fn config(&self) -> uso_queue::Config {
        self.options.config(&self.redis)
    }
}

#[derive(Args)]
pub(crate) struct RedisOptions {
    /// PEM file with the CAs to trust in place of the system's, for a Redis over TLS.
    #[arg(long, global = true, env = "USO_REDIS_CA", value_name = "FILE")]
    pub(crate) redis_ca: Option<PathBuf>,
    /// Parts that the queue is split into by tenant, for a Redis Cluster to spread; fixed once it is used.
    #[arg(long, global = true, env = "USO_SHARDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    pub(crate) shards: u16,
    /// Accept work only once N replicas have it.
    #[arg(long, global = true, env = "USO_DURABILITY", value_parser = replicas, value_name = "replica:N")]
    pub(crate) durability: Option<u32>,
}

impl RedisOptions {
    pub(crate) fn config(&self, url: &str) -> uso_queue::Config {
        uso_queue::Config {
            ca: self.redis_ca.clone(),
            shards: self.shards,
            replicas: self.durability.unwrap_or(0),
            ..uso_queue::Config::new(url)
        }
    }
}

/// Reads `replica:N`.
fn replicas(text: &str) -> Result<u32, &'static str> {
    let count = text.strip_prefix("replica:").and_then(|count| count.parse().ok());
    count.filter(|count| (1..=16).contains(count)).ok_or(
        "what can be asked for is replica:N, N from 1 to 16; what reaches the disk is set in Redis itself",
    )
}
