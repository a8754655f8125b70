//! What one process of a measurement does.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{cold, listings, outliers, packing, planned, text};
use crate::args::BenchEngineClientArgs;
use crate::commands::say;

/// A task, as one process tells it to another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Draws pictures and holds what they take against the plan.
    Draw(planned::Drawing),
    /// Holds eight bits against the numbers that they were made from.
    Compare { folder: PathBuf },
    /// Encodes a prompt in eight bits and in float32.
    Encode { folder: PathBuf, rounds: usize },
    /// Packs a model.
    Pack { folder: PathBuf, out: PathBuf },
    /// Loads a model and does its first steps.
    Start(cold::Start),
    /// Says what a folder holds.
    Inspect { folder: PathBuf },
    /// Plans for some cards.
    Plan { folder: PathBuf },
}

/// Does what `uso bench engine-client` is told, and answers with a line of JSON.
pub(in crate::commands::bench) fn client(args: &BenchEngineClientArgs) -> anyhow::Result<()> {
    match serde_json::from_str(&args.task)? {
        Task::Draw(drawing) => tell(&planned::draw(&drawing)?),
        Task::Compare { folder } => tell(&outliers::compare(folder)?),
        Task::Encode { folder, rounds } => tell(&text::encode(folder, rounds)?),
        Task::Pack { folder, out } => tell(&packing::pack(folder, &out)?),
        Task::Start(start) => tell(&cold::start(start)?),
        Task::Inspect { folder } => tell(&listings::inspect(folder)?),
        Task::Plan { folder } => tell(&listings::plan(folder)?),
    }
}

/// Has a task done in a process of its own.
pub(super) async fn ask<T: DeserializeOwned>(task: &Task) -> anyhow::Result<T> {
    let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
    command.args(["bench", "engine-client", &serde_json::to_string(task)?]);
    command.env("USO_LOG", "error").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context("cannot start a client")?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    anyhow::ensure!(output.status.success(), "a client failed: {complaint}");
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().last().with_context(|| format!("a client said nothing: {complaint}"))?;
    serde_json::from_str(line).with_context(|| format!("a client said {line:?}"))
}

/// Says something to the process that asked.
fn tell(answer: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(answer)?)
}
