//! One process of a measurement.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::plan;
use crate::client::tell;

/// A task, as one process tells it to another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Plans a manifest.
    Plan { file: PathBuf },
}

#[derive(Args)]
pub(crate) struct ClientArgs {
    /// What to do, as JSON.
    task: String,
}

/// Does what it is told, and answers with a line of JSON.
pub(crate) fn client(args: &ClientArgs) -> anyhow::Result<()> {
    match serde_json::from_str(&args.task)? {
        Task::Plan { file } => tell(&plan::plan(&file)?),
    }
}
