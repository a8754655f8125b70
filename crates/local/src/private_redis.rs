//! A Redis of one's own: for a single machine and for tests.

mod log;
mod password;
mod restarts;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, RedisResult};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use self::restarts::Restarts;
use crate::Error;
use crate::private::make_private;

/// Oldest major version that has functions.
const OLDEST: u32 = 7;

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
    password: Option<String>,
    /// How long the log was before the server was started.
    log_before: u64,
}

impl PrivateRedis {
    /// Starts a server that lets in whoever can reach it, with its data in `folder`, on `port` or on a free one.
    ///
    /// # Errors
    /// [`Error::PrivateRedis`] if there is no `redis-server`, it is too old, or it does not start.
    pub async fn start(folder: &Path, port: Option<u16>) -> Result<Self, Error> {
        check_binary().await?;
        make_private(folder).map_err(|error| refused(folder, &error))?;
        Self::start_in(folder, port, None).await
    }

    /// The same for one that asks for a password: it is made once and lies in the folder, for its owner's eyes
    /// only. Data of a server that asked for none is taken along.
    ///
    /// # Errors
    /// As [`PrivateRedis::start`].
    pub async fn start_with_password(folder: &Path, port: Option<u16>) -> Result<Self, Error> {
        check_binary().await?;
        make_private(folder).map_err(|error| refused(folder, &error))?;
        let password = match password::read(folder) {
            Some(password) => password,
            None => password::create(folder).map_err(|error| refused(folder, &error))?,
        };
        Self::start_in(folder, port, Some(password)).await
    }

    async fn start_in(folder: &Path, port: Option<u16>, password: Option<String>) -> Result<Self, Error> {
        stop_leftover(folder).await?;
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let log_before = log::length(folder);
        let child = spawn(folder, port, password.as_deref()).await?;
        let mut redis = Self { child, folder: folder.to_owned(), port, password, log_before };
        redis.ready().await?;
        let noted = std::fs::write(folder.join(PORT_FILE), port.to_string());
        noted.map_err(|error| refused(folder, &error))?;
        Ok(redis)
    }

    /// Where it listens, `redis://127.0.0.1:port`, with the password if it asks for one.
    pub fn url(&self) -> String {
        url(self.port, self.password.as_deref())
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
        let _: RedisResult<redis::Value> = self.ask(&redis::cmd("SHUTDOWN")).await;
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

    /// Why it ended, as far as its log tells.
    pub fn why_it_ended(&self) -> String {
        log::cause(&log::since(&self.folder, self.log_before))
    }

    /// Starts it again on the same port with the data it left.
    ///
    /// # Errors
    /// As [`PrivateRedis::start`]; the server does not run then.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.log_before = log::length(&self.folder);
        self.child = spawn(&self.folder, self.port, self.password.as_deref()).await?;
        let ready = self.ready().await;
        if ready.is_err() {
            // Two servers must never write the same files.
            self.kill().await?;
        }
        ready
    }

    /// Starts it again whenever it ends by itself: it lost nothing. Returns when it has ended too often.
    pub(crate) async fn supervise(&mut self) -> Error {
        let mut restarts = Restarts::default();
        loop {
            let begun = Instant::now();
            if let Err(error) = self.ended().await {
                return error;
            }
            let mut why = self.why_it_ended();
            let mut lived = begun.elapsed();
            loop {
                let Some(pause) = restarts.pause(lived) else {
                    return Error::KeepsEnding { ends: restarts.ends, why };
                };
                tracing::warn!(?pause, "the private redis has ended: {why}; it is started again");
                tokio::time::sleep(pause).await;
                match self.restart().await {
                    Ok(()) => break,
                    Err(error) => (why, lived) = (error.to_string(), Duration::ZERO),
                }
            }
            tracing::warn!("the private redis runs again");
        }
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let answer: RedisResult<String> = self.ask(&redis::cmd("PING")).await;
            if answer.is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(fault(format!("ended at once ({status}): {}", self.why_it_ended())));
            }
            if tokio::time::Instant::now() > deadline {
                return Err(fault(format!(
                    "no answer within {} s: {}",
                    START.as_secs(),
                    self.why_it_ended()
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        ask(&self.url(), command).await
    }
}

fn url(port: u16, password: Option<&str>) -> String {
    let password = password.map(|password| format!(":{password}@")).unwrap_or_default();
    format!("redis://{password}127.0.0.1:{port}")
}

async fn ask<T: FromRedisValue>(url: &str, command: &Cmd) -> RedisResult<T> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    command.query_async(&mut connection).await
}

/// Ends the server of an owner that was killed and could not end it: two servers must never write
/// the same files.
///
/// # Errors
/// [`Error::PrivateRedis`] if it does not end.
async fn stop_leftover(folder: &Path) -> Result<(), Error> {
    let port = std::fs::read_to_string(folder.join(PORT_FILE)).ok().and_then(|text| text.parse().ok());
    let Some(port) = port else { return Ok(()) };
    // One of a version before asks for no password.
    let ways = [password::read(folder), None].map(|password| url(port, password.as_deref()));
    let deadline = tokio::time::Instant::now() + STOP;
    for way in ways {
        while serves(&way, folder).await {
            if tokio::time::Instant::now() > deadline {
                return Err(fault(format!(
                    "a server from before still runs on port {port} and does not end"
                )));
            }
            // The server ends instead of answering.
            let _: RedisResult<redis::Value> = ask(&way, &redis::cmd("SHUTDOWN")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Whether a Redis has its data in `folder`; by now the port may be anybody's.
async fn serves(url: &str, folder: &Path) -> bool {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg("dir");
    let Ok(Ok((_, theirs))) = tokio::time::timeout(STOP, ask::<(String, String)>(url, &get)).await else {
        return false;
    };
    matches!((Path::new(&theirs).canonicalize(), folder.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn fault(reason: impl Into<String>) -> Error {
    Error::PrivateRedis(reason.into())
}

fn refused(folder: &Path, error: &std::io::Error) -> Error {
    fault(format!("{}: {error}", folder.display()))
}

async fn spawn(folder: &Path, port: u16, password: Option<&str>) -> Result<Child, Error> {
    let failed = |error: std::io::Error| fault(format!("redis-server: {error}"));
    let mut child = Command::new("redis-server")
        .current_dir(folder)
        // What is secret comes through this: anybody can read a command line.
        .arg("-")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--dir", ".", "--logfile", log::FILE, "--daemonize", "no"])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .args(["--maxmemory-policy", "noeviction"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A terminal's Ctrl-C goes to the whole process group; the server must outlive its clients.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let (Some(mut input), Some(password)) = (child.stdin.take(), password) {
        // One that has ended already says so itself.
        let _ = input.write_all(format!("requirepass {password}\n").as_bytes()).await;
    }
    Ok(child)
}

async fn check_binary() -> Result<(), Error> {
    let output = Command::new("redis-server").arg("--version").output().await.map_err(|error| {
        fault(format!("redis-server cannot be run ({error}); install Redis {OLDEST}.0 or newer"))
    })?;
    check_version(&String::from_utf8_lossy(&output.stdout))
}

/// Judges `redis-server --version`: `Redis server v=7.0.15 sha=...`.
fn check_version(text: &str) -> Result<(), Error> {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown");
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= OLDEST => Ok(()),
        _ => Err(fault(format!("redis-server {version} is too old; {OLDEST}.0 or newer is needed"))),
    }
}

fn free_port() -> Result<u16, Error> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| fault(error.to_string()))?;
    Ok(listener.local_addr().map_err(|error| fault(error.to_string()))?.port())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{PrivateRedis, ask, check_version};

    #[tokio::test]
    async fn whoever_has_no_password_is_not_let_in_and_an_old_folder_is_taken_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redis");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let old = PrivateRedis::start(&path, None).await.unwrap();
        let mut set = redis::cmd("SET");
        ask::<String>(&old.url(), set.arg("a").arg("1")).await.unwrap();
        // It still runs, as after a kill of its owner.
        let new = PrivateRedis::start_with_password(&path, None).await.unwrap();
        let mut get = redis::cmd("GET");
        get.arg("a");
        assert_eq!(ask::<String>(&new.url(), &get).await.unwrap(), "1");
        let bare = format!("redis://{}", new.url().split_once('@').unwrap().1);
        let refused = ask::<String>(&bare, &get).await.unwrap_err().to_string();
        assert!(refused.to_uppercase().contains("AUTH"), "{refused}");
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("password"))), (0o700, 0o600));
        // The same the next time, also for a server that was left behind.
        let again = PrivateRedis::start_with_password(&path, None).await.unwrap();
        assert_eq!(ask::<String>(&again.url(), &get).await.unwrap(), "1");
        assert_eq!(again.url().split_once('@').unwrap().0, new.url().split_once('@').unwrap().0);
        let command = std::fs::read(format!("/proc/{}/cmdline", again.pid().unwrap())).unwrap();
        let password = std::fs::read(path.join("password")).unwrap();
        assert!(!command.windows(password.len()).any(|part| part == password), "anybody can read it");
    }

    #[test]
    fn an_older_server_is_refused_by_version() {
        assert!(check_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64").is_ok());
        let error = check_version("Redis server v=6.0.16 sha=00000000:0").unwrap_err().to_string();
        assert!(error.contains("6.0.16") && error.contains("7.0"), "{error}");
        assert!(check_version("something else").is_err());
    }
}
