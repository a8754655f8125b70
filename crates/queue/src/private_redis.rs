//! A Redis of one's own: for a single machine and for tests.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::Error;
use crate::redis::OLDEST_REDIS;

/// How long the server may take to load its data and answer.
const START: Duration = Duration::from_secs(30);
/// How long it may take to write its data and end.
const STOP: Duration = Duration::from_secs(10);

/// Tells the next owner of the folder where a server may still be.
const PORT_FILE: &str = "port";

/// Holds the password of a server that asks for one.
const PASSWORD_FILE: &str = "password";

/// What the server writes into its folder beside its data.
const LOG: &str = "redis.log";

/// How much of the end of a log is looked through for a cause.
const LOG_END: u64 = 64 * 1024;

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

    /// The same for one that asks for a password: it is drawn once and lies in the folder, for its owner's eyes
    /// only. Data of a server that asked for none is taken along.
    ///
    /// # Errors
    /// As [`PrivateRedis::start`].
    pub async fn start_with_password(folder: &Path, port: Option<u16>) -> Result<Self, Error> {
        check_binary().await?;
        make_private(folder).map_err(|error| refused(folder, &error))?;
        let password = match read_password(folder) {
            Some(password) => password,
            None => draw_password(folder).map_err(|error| refused(folder, &error))?,
        };
        Self::start_in(folder, port, Some(password)).await
    }

    async fn start_in(folder: &Path, port: Option<u16>, password: Option<String>) -> Result<Self, Error> {
        stop_leftover(folder).await?;
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let log_before = log_length(folder);
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

    /// Why it ended, as far as its log tells.
    pub fn why_it_ended(&self) -> String {
        cause(&log_since(&self.folder, self.log_before))
    }

    /// Starts it again on the same port with the data it left.
    ///
    /// # Errors
    /// As [`PrivateRedis::start`]; the server does not run then.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.log_before = log_length(&self.folder);
        self.child = spawn(&self.folder, self.port, self.password.as_deref()).await?;
        let ready = self.ready().await;
        if ready.is_err() {
            // Two servers must never write the same files.
            self.kill().await?;
        }
        ready
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let answer: Result<String, Error> = self.ask(&redis::cmd("PING")).await;
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

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Error> {
        ask(&self.url(), command).await
    }
}

fn url(port: u16, password: Option<&str>) -> String {
    let password = password.map(|password| format!(":{password}@")).unwrap_or_default();
    format!("redis://{password}127.0.0.1:{port}")
}

async fn ask<T: redis::FromRedisValue>(url: &str, command: &redis::Cmd) -> Result<T, Error> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(command.query_async(&mut connection).await?)
}

/// Other users of the machine have no business in the queue, whoever made the folder.
fn make_private(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// The password that was drawn before. Whoever could read it then can do so no more.
fn read_password(folder: &Path) -> Option<String> {
    let path = folder.join(PASSWORD_FILE);
    let password = std::fs::read_to_string(&path).ok()?.trim().to_owned();
    // What cannot be made private is drawn anew, or refused there.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).ok()?;
    let is_ours = !password.is_empty() && password.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_ours.then_some(password)
}

fn draw_password(folder: &Path) -> std::io::Result<String> {
    let word = || uuid::Uuid::new_v4().simple().to_string();
    let password = word() + &word();
    // Under another name first: half a password would lock the next owner out of a server that still runs.
    let (path, new) = (folder.join(PASSWORD_FILE), folder.join("password.new"));
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(password.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    Ok(password)
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
    let ways = [read_password(folder), None].map(|password| url(port, password.as_deref()));
    let deadline = tokio::time::Instant::now() + STOP;
    for way in ways {
        while serves(&way, folder).await {
            if tokio::time::Instant::now() > deadline {
                return Err(fault(format!(
                    "a server from before still runs on port {port} and does not end"
                )));
            }
            // The server ends instead of answering.
            let _: Result<redis::Value, Error> = ask(&way, &redis::cmd("SHUTDOWN")).await;
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
        .args(["--dir", ".", "--logfile", "redis.log", "--daemonize", "no"])
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

fn log_length(folder: &Path) -> u64 {
    std::fs::metadata(folder.join(LOG)).map_or(0, |log| log.len())
}

/// The end of what was logged after the log had so many bytes.
fn log_since(folder: &Path, before: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut log = File::open(folder.join(LOG))?;
        let from = before.max(log.metadata()?.len().saturating_sub(LOG_END));
        log.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// What a log says of why its server ended. What it writes last is mostly that it ends.
fn cause(log: &str) -> String {
    const KNOWN: [(&str, &str); 7] = [
        ("No space left on device", "the disk is full"),
        ("Disk quota exceeded", "the disk quota is used up"),
        ("Read-only file system", "the disk can only be read"),
        ("Input/output error", "the disk is broken"),
        ("Bad file format reading the append only file", "its data is damaged; redis-check-aof may mend it"),
        ("Out Of Memory", "there is no memory left"),
        ("Address already in use", "another program has its port"),
    ];
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    for (sign, meaning) in KNOWN {
        if let Some(line) = lines.iter().rev().find(|line| line.contains(sign)) {
            return format!("{meaning}: {}", said(line));
        }
    }
    // What is said at every start and at every end tells nothing.
    const USUAL: [&str; 6] = [
        "WARNING",
        "Redis is starting",
        "Redis version",
        "Configuration loaded",
        "Server initialized",
        "bye bye",
    ];
    let ready = lines.iter().rposition(|line| line.contains("Ready to accept connections"));
    let since = &lines[ready.unwrap_or(0)..];
    let telling = |line: &&&str| line.contains(" # ") && !USUAL.iter().any(|usual| line.contains(usual));
    match (since.iter().rev().find(telling), lines.last()) {
        (Some(line), _) => said(line).to_owned(),
        (None, Some(line)) if ready.is_none() => said(line).to_owned(),
        (None, Some(_)) => "it was killed, and its log says nothing of why".to_owned(),
        (None, None) => "it wrote no log".to_owned(),
    }
}

/// A line of a log without process, time and mark: `1:M 01 Jan 2024 00:00:00.000 # Text`.
fn said(line: &str) -> &str {
    let text =
        [" # ", " * ", " - ", " . "].iter().filter_map(|mark| line.split_once(mark)).map(|(_, text)| text);
    text.max_by_key(|text| text.len()).unwrap_or(line)
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::{PrivateRedis, ask, cause, check_version};

    #[test]
    fn the_cause_is_named_and_not_the_last_line() {
        let full = "9:M 01 Jan 2026 00:00:00.000 # Error writing to the AOF file: No space left on device\n\
                    9:M 01 Jan 2026 00:00:00.001 # Can't recover from AOF write error. Exiting...\n\
                    9:M 01 Jan 2026 00:00:00.002 # Redis is now ready to exit, bye bye...\n";
        assert_eq!(cause(full), "the disk is full: Error writing to the AOF file: No space left on device");
        let other = "9:M 01 Jan 2026 00:00:00.000 # Something - odd\n\
                     9:M 01 Jan 2026 00:00:00.001 * Saving\n\
                     9:M 01 Jan 2026 00:00:00.002 # Redis is now ready to exit, bye bye...\n";
        assert_eq!(cause(other), "Something - odd");
        let killed = "9:M 01 Jan 2026 00:00:00.000 # WARNING Memory overcommit must be enabled!\n\
                      9:M 01 Jan 2026 00:00:00.001 * Ready to accept connections\n";
        assert_eq!(cause(killed), "it was killed, and its log says nothing of why");
        assert_eq!(cause(""), "it wrote no log");
    }

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
