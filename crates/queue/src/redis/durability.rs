//! What a server promises of accepted work.

use std::fmt;

use redis::aio::MultiplexedConnection;

use crate::Error;

/// Oldest Redis with functions.
pub(crate) const OLDEST_REDIS: u32 = 7;

/// Part of its memory from which on a server is about to refuse new work, in percent.
const NEARLY_FULL: u64 = 80;

/// What survives when the machine under Redis stops, as far as Redis shows; of several servers, what the
/// weakest promises.
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
    /// Every accepted job is in the memory of that many replicas before it is answered, whatever the disks
    /// under them keep.
    Replicas(u32),
}

impl Durability {
    /// The weaker of two.
    pub(super) fn or_weaker(self, other: Self) -> Self {
        std::cmp::max_by_key(self, other, |durability| match durability {
            Self::Replicas(_) => 0,
            Self::Fsync => 1,
            Self::EverySecond => 2,
            Self::Unknown => 3,
            Self::Volatile => 4,
        })
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fsync => "fsync: every accepted job is on disk before it is answered",
            Self::EverySecond => "everysec: up to two seconds of accepted jobs can be lost",
            Self::Volatile => "none: accepted jobs are lost when Redis stops",
            Self::Unknown => "unknown: the server does not show its persistence settings",
            Self::Replicas(count) => {
                return write!(
                    f,
                    "replica:{count}: every accepted job is on {count} more server(s) before it is answered"
                );
            }
        })
    }
}

/// Refuses a server that would lose what it accepts, and gives what it promises.
pub(super) async fn inspect(connection: &MultiplexedConnection, address: &str) -> Result<Durability, Error> {
    let Some(info) = shown(connection, redis::cmd("INFO")).await? else {
        tracing::warn!(address, "{address} hides its settings; its maxmemory-policy must be noeviction");
        return Ok(Durability::Unknown);
    };
    let info = Info(info);
    check_version(&info)?;
    if info.get("role") == Some("slave") {
        return Err(Error::Unreachable(format!("{address} is a replica")));
    }
    check_memory(&info, connection, address).await?;
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg("appendfsync");
    let syncs = shown(connection, get).await?.unwrap_or_default();
    Ok(match (info.get("aof_enabled"), syncs.lines().nth(1)) {
        (Some("0"), _) => Durability::Volatile,
        (Some("1"), Some("always")) => Durability::Fsync,
        (Some("1"), Some("everysec")) => Durability::EverySecond,
        (Some("1"), Some(_)) => Durability::Volatile,
        _ => Durability::Unknown,
    })
}

async fn check_memory(info: &Info, connection: &MultiplexedConnection, address: &str) -> Result<(), Error> {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg("maxmemory-policy");
    let policy = match info.get("maxmemory_policy") {
        Some(policy) => Some(policy.to_owned()),
        None => shown(connection, get).await?.and_then(|pair| pair.lines().nth(1).map(str::to_owned)),
    };
    match policy.as_deref() {
        Some("noeviction") => {}
        Some(policy) => {
            let reason = format!(
                "maxmemory-policy of {address} is {policy}: it would evict accepted jobs; set noeviction"
            );
            return Err(Error::Unsafe(reason));
        }
        None => tracing::warn!(address, "{address} hides its maxmemory-policy; it must be noeviction"),
    }
    if let Some(warning) = nearly_full(info) {
        tracing::warn!(address, "{address} {warning}");
    }
    Ok(())
}

/// What to say of a server whose memory is nearly full.
fn nearly_full(info: &Info) -> Option<String> {
    let number = |name| info.get(name)?.parse::<u64>().ok();
    let (used, most) = (number("used_memory")?, number("maxmemory").filter(|most| *most > 0)?);
    let full = used.saturating_mul(100) >= most.saturating_mul(NEARLY_FULL);
    full.then(|| format!("uses {used} of the {most} bytes of its maxmemory; once full it takes no new jobs"))
}

fn check_version(info: &Info) -> Result<(), Error> {
    let version = info.get("redis_version").unwrap_or("unknown");
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= OLDEST_REDIS => Ok(()),
        _ => Err(Error::Unsafe(format!(
            "version {version} has no functions; {OLDEST_REDIS}.0 or newer is needed"
        ))),
    }
}

/// An answer as lines of text, or none where a managed service or a rule of access does not show it.
async fn shown(connection: &MultiplexedConnection, command: redis::Cmd) -> Result<Option<String>, Error> {
    let mut connection = connection.clone();
    match command.query_async::<redis::Value>(&mut connection).await {
        Ok(redis::Value::Array(words)) => {
            let words: Result<Vec<String>, _> = words.into_iter().map(redis::from_redis_value).collect();
            Ok(words.ok().map(|words| words.join("\n")))
        }
        Ok(answer) => Ok(redis::from_redis_value(answer).ok()),
        Err(error) if is_hidden(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the server answers, but not this: a rule of access forbids it, or a managed service does not know it.
fn is_hidden(error: &redis::RedisError) -> bool {
    error.code() == Some("NOPERM") || matches!(Error::from(error.clone()), Error::Refused(_))
}

/// What `INFO` says: lines of `name:value`.
struct Info(String);

impl Info {
    fn get(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ str| line.split_once(':').filter(|(known, _)| *known == name).is_some();
        let line = self.0.lines().find(|line| value(line))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Info {
        Info(text.replace(' ', "\r\n"))
    }

    #[test]
    fn an_older_redis_is_refused_by_version() {
        assert!(check_version(&info("#Server redis_version:7.0.15 os:x")).is_ok());
        assert!(check_version(&info("redis_version:8.2.1")).is_ok());
        let error = check_version(&info("redis_version:6.2.14")).unwrap_err().to_string();
        assert!(error.contains("6.2.14") && error.contains("7.0"), "{error}");
        assert!(check_version(&info("")).is_err());
    }

    #[test]
    fn a_server_that_is_nearly_full_is_named_with_its_numbers() {
        assert_eq!(nearly_full(&info("used_memory:79 maxmemory:100")), None);
        assert_eq!(nearly_full(&info("used_memory:79 maxmemory:0")), None, "no limit");
        let warning = nearly_full(&info("used_memory:80 maxmemory:100")).unwrap();
        assert!(warning.contains("80 of the 100 bytes"), "{warning}");
        assert!(nearly_full(&info("used_memory:200 maxmemory:100")).is_some());
    }

    #[test]
    fn the_weakest_server_counts() {
        use Durability::{EverySecond, Fsync, Unknown, Volatile};
        assert_eq!(Fsync.or_weaker(EverySecond), EverySecond);
        assert_eq!(Volatile.or_weaker(Fsync), Volatile);
        assert_eq!(Unknown.or_weaker(EverySecond), Unknown);
        assert_eq!(Fsync.or_weaker(Fsync), Fsync);
    }
}
