//! Processes of the real binary.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Long enough for a loaded machine, short enough to see that something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary that cargo built along with these tests.
pub(crate) fn binary() -> PathBuf {
    // target/<profile>/deps/<test> -> target/<profile>/uso
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().unwrap().parent().unwrap().join("uso");
    assert!(binary.is_file(), "{} is missing: test the whole workspace", binary.display());
    binary
}

/// How long a process may take to end in order when its test is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running process, ended when the test is over.
pub(crate) struct Process {
    child: Child,
    /// What it said when it was ready.
    pub(crate) ready: String,
}

impl Process {
    /// Starts the binary and waits until it says that it is ready.
    pub(crate) async fn start(args: &[&str], environment: &[(&str, String)]) -> Self {
        let mut child = Command::new(binary())
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let ready = ready.expect("not ready in time").unwrap().expect("ended before it was ready");
        Self { child, ready }
    }

    /// The address it said that it listens on.
    pub(crate) fn address(&self) -> String {
        self.ready.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
    }

    /// Its number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal by name, for example `KILL`.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Kills it, and returns when it is gone.
    pub(crate) async fn kill(&mut self) {
        self.signal("KILL").await;
        assert!(!self.ended().await);
    }

    /// Whether it has ended already.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; whether it ended well.
    pub(crate) async fn ended(&mut self) -> bool {
        self.exit_code().await == Some(0)
    }

    /// Waits for its end; none if a signal ended it.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("does not end").unwrap().code()
    }

    /// Allows it no more addresses than that many bytes, as `ulimit -v` does.
    pub(crate) async fn limit_memory(&self, bytes: u64) {
        let pid = self.child.id().unwrap().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--as={bytes}")]).status();
        assert!(limited.await.unwrap().success());
    }

    /// The most memory it ever had, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Process {
    /// In order, so that it ends what it has started itself; what does not end is killed.
    fn drop(&mut self) {
        let Some(pid) = self.child.id() else { return };
        let _ = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
        let deadline = std::time::Instant::now() + FAREWELL;
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
