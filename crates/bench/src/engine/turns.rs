//! Two processes that compute the same and take turns, so that what disturbs the machine disturbs both.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Longest time until a side is ready, or until a run ends.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a side measures in a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// Seconds.
    Time,
    /// The most bytes of anonymous memory, less those before.
    Memory,
}

/// What a side says once it is ready.
#[derive(Serialize, Deserialize, Default)]
pub(super) struct Ready {
    /// What it is.
    pub(super) version: String,
    /// Seconds of making a sample whose references and prompt are encoded already: nearly all of it is modulations.
    #[serde(default)]
    pub(super) sample: f64,
}

/// What it says in a turn.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) value: f64,
}

/// One of the processes.
pub(super) struct Side {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Side {
    /// Starts a process and waits until it is ready.
    pub(super) async fn start(mut command: Command) -> anyhow::Result<(Self, Ready)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start it")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).context("it has no pipes")?;
        let mut side = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        let ready = side.next().await?;
        Ok((side, ready))
    }

    /// Lets it have its turn.
    pub(super) async fn turn(&mut self, ask: Ask) -> anyhow::Result<f64> {
        let word: &[u8] = if ask == Ask::Time { b"time\n" } else { b"memory\n" };
        self.stdin.write_all(word).await.context("it has ended")?;
        self.stdin.flush().await?;
        Ok(self.next::<Answer>().await?.value)
    }

    async fn next<T: serde::de::DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.context("it does not answer")??;
        match line {
            Some(line) => serde_json::from_str(&line).with_context(|| format!("it said {line:?}")),
            None => self.complaint().await,
        }
    }

    /// Why it ended, in its last words.
    async fn complaint<T>(&mut self) -> anyhow::Result<T> {
        use tokio::io::AsyncReadExt as _;
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            timeout(Duration::from_secs(5), stderr.read_to_string(&mut said)).await.ok();
        }
        ensure!(!said.trim().is_empty(), "it ended");
        anyhow::bail!("{}", said.trim().lines().last().unwrap_or_default())
    }
}

/// The other end: says that it is ready, and answers until nobody asks any more.
pub(super) fn serve(ready: &Ready, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    crate::client::answer_with(ready)?;
    for line in std::io::stdin().lines() {
        let value = if line?.trim() == "memory" {
            let before = crate::memory::anonymous()?;
            let ((), peak) = crate::memory::peak(&mut run)?;
            peak.saturating_sub(before) as f64
        } else {
            let begun = std::time::Instant::now();
            run()?;
            begun.elapsed().as_secs_f64()
        };
        crate::client::answer_with(&Answer { value })?;
    }
    Ok(())
}
