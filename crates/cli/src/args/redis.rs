//! Options for the connection to Redis.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct RedisArgs {
    /// URL of the queue's Redis, version 7 or newer: redis://HOST:PORT, redis+cluster://HOST:PORT,HOST:PORT or
    /// redis+sentinel://HOST:PORT,HOST:PORT/SERVICE. For TLS, write rediss in place of redis. Put USER:PASSWORD@
    /// before the hosts, and the sentinels' own password at the end: ?sentinel_password=PASSWORD.
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
    /// PEM file of the CAs to trust instead of the system's, for Redis over TLS.
    #[arg(long, global = true, env = "USO_REDIS_CA", value_name = "FILE")]
    pub(crate) redis_ca: Option<PathBuf>,
    /// Number of shards that tenants are spread over, for Redis Cluster. You cannot change it once the queue is in use.
    #[arg(long, global = true, env = "USO_SHARDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    pub(crate) shards: u16,
    /// Accept a job only once N replicas have it.
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
    count
        .filter(|count| (1..=16).contains(count))
        .ok_or("must be replica:N with N from 1 to 16; how Redis writes to disk is set in Redis itself")
}
