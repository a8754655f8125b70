//! A Redis of one's own: for a single machine and for tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::Error;
use crate::connection::OLDEST_REDIS;

/// How long the server may take to load its data and answer.
const START: Duration = Duration::from_secs(30);
/// How long it may take to write its data and end.
const STOP: Duration = Duration::from_secs(10);

/// Tells the next owner of the folder where a server may still be.
const PORT_FILE: &str = "port";

/// A `redis-server` on 127.0.0.1 that keeps every accepted write on disk before it answers. It ends
/// with this value.
pub struct PrivateRedis {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl PrivateRedis {
    /// Starts a server with its data in `folder`, on `port` or on a free one.
    ///
    /// # Errors
    /// [`Error::PrivateRedis`] if there is no `redis-server`, it is too old, or it does not start.
    pub async fn start(folder: &Path, port: Option<u16>) -> Result<Self, Error> {
        check_binary().await?;
        let refused = |error: std::io::Error| fault(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(refused)?;
        stop_leftover(folder).await?;
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let mut redis = Self { child: spawn(folder, port)?, folder: folder.to_owned(), port };
        redis.ready().await?;
        std::fs::write(folder.join(PORT_FILE), port.to_string()).map_err(refused)?;
        Ok(redis)
    }

    /// Where it listens: `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it in order: its data is written.
    ///
    /// # Errors
    /// [`Error::PrivateRedis`] if it had to be killed.
    pub async fn stop(mut self) -> Result<(), Error> {
        // The server ends instead of answering.
        let _: Result<redis::Value, Error> = self.ask(&redis::cmd("SHUTDOWN")).await;
        match tokio::time::timeout(STOP, self.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                self.kill().await?;
                Err(fault(format!("did not stop within {} s and was killed", STOP.as_secs())))
            }
        }
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// [`Error::PrivateRedis`] if the system refuses.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(|error| fault(error.to_string()))
    }

    /// Returns when the server has ended, whoever ended it.
    ///
    /// # Errors
    /// [`Error::PrivateRedis`] if the system cannot tell.
    pub async fn ended(&mut self) -> Result<(), Error> {
        self.child.wait().await.map(|_| ()).map_err(|error| fault(error.to_string()))
    }

    /// Starts it again on the same port with the data it left.
    ///
    /// # Errors
    /// As [`PrivateRedis::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.child = spawn(&self.folder, self.port)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let answer: Result<String, Error> = self.ask(&redis::cmd("PING")).await;
            if answer.is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(fault(format!("ended at once ({status}): {}", self.last_words())));
            }
            if tokio::time::Instant::now() > deadline {
                return Err(fault(format!("no answer within {} s: {}", START.as_secs(), self.last_words())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Error> {
        ask(self.port, command).await
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default();
        log.lines().last().unwrap_or("it wrote no log").to_owned()
    }
}

async fn ask<T: redis::FromRedisValue>(port: u16, command: &redis::Cmd) -> Result<T, Error> {
    let client = redis::Client::open(("127.0.0.1", port))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(command.query_async(&mut connection).await?)
}

/// Ends the server of an owner that was killed and could not end it: two servers must never write
/// the same files.
///
/// # Errors
/// [`Error::PrivateRedis`] if it does not end.
async fn stop_leftover(folder: &Path) -> Result<(), Error> {
    let port = std::fs::read_to_string(folder.join(PORT_FILE)).ok().and_then(|text| text.parse().ok());
    let Some(port) = port else { return Ok(()) };
    let deadline = tokio::time::Instant::now() + STOP;
    while serves(port, folder).await {
        if tokio::time::Instant::now() > deadline {
            return Err(fault(format!("a server from before still runs on port {port} and does not end")));
        }
        // The server ends instead of answering.
        let _: Result<redis::Value, Error> = ask(port, &redis::cmd("SHUTDOWN")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Whether a Redis on `port` has its data in `folder`; by now the port may be anybody's.
async fn serves(port: u16, folder: &Path) -> bool {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg("dir");
    let Ok(Ok((_, theirs))) = tokio::time::timeout(STOP, ask::<(String, String)>(port, &get)).await else {
        return false;
    };
    matches!((Path::new(&theirs).canonicalize(), folder.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn fault(reason: impl Into<String>) -> Error {
    Error::PrivateRedis(reason.into())
}

fn spawn(folder: &Path, port: u16) -> Result<Child, Error> {
    Command::new("redis-server")
        .current_dir(folder)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--dir", ".", "--logfile", "redis.log", "--daemonize", "no"])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .args(["--maxmemory-policy", "noeviction"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A terminal's Ctrl-C goes to the whole process group; the server must outlive its clients.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fault(format!("redis-server: {error}")))
}

async fn check_binary() -> Result<(), Error> {
    let output = Command::new("redis-server").arg("--version").output().await.map_err(|error| {
        fault(format!("redis-server cannot be run ({error}); install Redis {OLDEST_REDIS}.0 or newer"))
    })?;
    check_version(&String::from_utf8_lossy(&output.stdout))
}

/// Judges `redis-server --version`: `Redis server v=7.0.15 sha=...`.
fn check_version(text: &str) -> Result<(), Error> {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown");
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= OLDEST_REDIS => Ok(()),
        _ => Err(fault(format!("redis-server {version} is too old; {OLDEST_REDIS}.0 or newer is needed"))),
    }
}

fn free_port() -> Result<u16, Error> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| fault(error.to_string()))?;
    Ok(listener.local_addr().map_err(|error| fault(error.to_string()))?.port())
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn an_older_server_is_refused_by_version() {
        assert!(check_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64").is_ok());
        let error = check_version("Redis server v=6.0.16 sha=00000000:0").unwrap_err().to_string();
        assert!(error.contains("6.0.16") && error.contains("7.0"), "{error}");
        assert!(check_version("something else").is_err());
    }
}
