//! What is measured in a process of its own: how it is started, and how it answers.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::cores::Cores;

/// This program in another process, which ends with its value; logs errors alone.
pub(crate) fn command(cores: Cores, args: &[&str]) -> anyhow::Result<Command> {
    let mut command = cores.client(std::env::current_exe().context("where is this program?")?);
    // Losing workers is what some tasks are about.
    command.args(args).env("USO_LOG", "error").stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// What a process says in its last line, as JSON. It must end in time.
pub(crate) async fn answer<T: DeserializeOwned>(mut command: Command, time: Duration) -> anyhow::Result<T> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(time, command.output()).await.context("a client does not end")?;
    let output = output.context("cannot start a client")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    anyhow::ensure!(output.status.success(), "a client failed: {}", complaint());
    let line = said.lines().last().with_context(|| format!("a client said nothing: {}", complaint()))?;
    serde_json::from_str(line).with_context(|| format!("a client said {line:?}"))
}

/// Answers the process that asked.
pub(crate) fn answer_with(answer: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(answer)?)
}

/// Says something on stdout.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}
