//! What one process of a measurement is to do.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::device::DeviceTask;
use super::part::Part;
use crate::client;
use crate::cores::Cores;

/// Longest run of one process.
const PATIENCE: Duration = Duration::from_secs(3600);
/// As many threads as the process may use at once: left alone, the libraries that compute count the machine's cores,
/// also in a container that has fewer.
const POOLS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// A task, as one process tells it to another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Generates pictures and compares what they take with the plan.
    Generate(Pictures),
    /// Compares eight bits with the numbers that they were made from.
    Compare { folder: PathBuf },
    /// Encodes a prompt in eight bits and in float32.
    Encode { folder: PathBuf, rounds: usize },
    /// Packs a model.
    Pack { folder: PathBuf, out: PathBuf },
    /// Loads a model and does its first steps.
    Start(Start),
    /// Says what a folder holds.
    Inspect { folder: PathBuf },
    /// Plans for some cards.
    Plan { folder: PathBuf },
    /// Computes a part whenever it is asked to.
    Serve { part: Part, folder: PathBuf },
    /// Counts what a job does once.
    Count { folder: PathBuf },
    /// Scores pictures of the bundled model in the middle and at the end.
    Early { seeds: u64 },
    /// Checks a device.
    Device(DeviceTask),
}

/// Pictures of one model in one tier, or as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Pictures {
    pub(super) folder: PathBuf,
    pub(super) tier: Option<String>,
    /// Width, height, side of the content reference, styles, steps.
    pub(super) pictures: Vec<(u32, u32, Option<u32>, u32, u32)>,
}

/// A start to be timed.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) folder: PathBuf,
    /// When its process was started, since 1970.
    pub(super) asked: Duration,
}

/// The number of threads that was asked for.
static THREADS: OnceLock<usize> = OnceLock::new();

/// Sets the number of threads of all processes that are started from now on.
pub(super) fn use_threads(count: usize) {
    THREADS.get_or_init(|| count);
}

/// How many threads a process computes on.
pub(super) fn threads() -> usize {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    THREADS.get().copied().unwrap_or_else(available)
}

/// A process for a task.
pub(super) fn command(task: &Task) -> anyhow::Result<Command> {
    let mut command = client::command(Cores::unpinned(), &["engine-client", &serde_json::to_string(task)?])?;
    for pool in POOLS.into_iter().filter(|name| THREADS.get().is_some() || std::env::var_os(name).is_none()) {
        command.env(pool, threads().to_string());
    }
    Ok(command)
}

/// Has a task done in a process of its own.
pub(super) async fn ask<T: DeserializeOwned>(task: &Task) -> anyhow::Result<T> {
    client::answer(command(task)?, PATIENCE).await
}
