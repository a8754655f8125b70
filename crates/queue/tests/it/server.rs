//! Redis servers set up in other ways than the fixture's, and what happens to them.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use uso_queue::Queue;

/// How long a server may take to answer, and a test to see what it waits for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    password: String,
    folder: tempfile::TempDir,
}

impl Server {
    /// A server on a free port with more settings, each as `name value`.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        Self::start_with("", settings).await
    }

    /// The same with a password for everybody.
    pub(crate) async fn start_with(password: &str, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut words: Vec<String> = [
            "--bind 127.0.0.1",
            "--dir .",
            "--appendonly yes",
            "--appendfsync always",
            "--repl-diskless-sync-delay 0",
        ]
        .iter()
        .flat_map(|setting| setting.split(' '))
        .map(str::to_owned)
        .collect();
        words.extend(["--save".into(), String::new(), "--port".into(), port.to_string()]);
        if !password.is_empty() {
            words.extend(["--requirepass".into(), password.into(), "--masterauth".into(), password.into()]);
        }
        for setting in settings {
            words.extend(format!("--{setting}").split(' ').map(str::to_owned));
        }
        Self::run(folder, port, password, words).await
    }

    /// A sentinel with these lines in its file.
    pub(crate) async fn sentinel(password: &str, lines: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut file = format!("bind 127.0.0.1\nport {port}\ndir .\n");
        if !password.is_empty() {
            file.push_str(&format!("requirepass {password}\n"));
        }
        for line in lines {
            file.push_str(&format!("{line}\n"));
        }
        std::fs::write(folder.path().join("sentinel.conf"), file).unwrap();
        Self::run(folder, port, password, vec!["sentinel.conf".into(), "--sentinel".into()]).await
    }

    async fn run(folder: tempfile::TempDir, port: u16, password: &str, words: Vec<String>) -> Self {
        let child = spawn(&folder, &words);
        let mut server = Self { child, port, password: password.into(), folder };
        server.ready().await;
        server
    }

    async fn ready(&mut self) {
        let asked = tokio::time::timeout(PATIENCE, async {
            while self.ask::<String>("PING").await.is_err() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("the server ended at once ({status}): {}", self.last_words());
                }
                pause().await;
            }
        });
        assert!(asked.await.is_ok(), "the server does not answer: {}", self.last_words());
    }

    fn last_words(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out.log")).unwrap_or_default()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Runs a raw command, given as words between spaces.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &str) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://:{}@{}", self.password, self.address())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::Cmd::new();
        for word in words.split(' ') {
            command.arg(word);
        }
        command.query_async(&mut connection).await
    }

    /// A line of `INFO`, or of another answer made of such lines.
    pub(crate) async fn line(&self, words: &str, name: &str) -> Option<String> {
        let text: String = self.ask(words).await.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Keeps it from doing anything, or lets it go on.
    pub(crate) async fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await.unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A frozen one is killed all the same.
        let _ = self.child.start_kill();
    }
}

fn spawn(folder: &tempfile::TempDir, words: &[String]) -> Child {
    let log = std::fs::File::create(folder.path().join("out.log")).unwrap();
    Command::new("redis-server")
        .current_dir(folder.path())
        .args(words)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server must be installed")
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            pause().await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("{what} did not come about"))
}

/// Waits until replicas confirm what is written: one that has just been given all data may take a while.
pub(crate) async fn confirmed(queue: &Queue) {
    let nobody = "0-00000000-0000-7000-8000-000000000000".parse().unwrap();
    until("a confirmation", async || queue.cancel(&nobody).await.ok()).await;
}
