//! One process of a measurement.

use clap::Args;

use super::plan;
use super::task::Task;
use crate::client::answer_with;

#[derive(Args)]
pub(crate) struct ClientArgs {
    /// What to do, as JSON.
    task: String,
}

/// Does what it is told, and answers with a line of JSON.
pub(crate) fn client(args: &ClientArgs) -> anyhow::Result<()> {
    match serde_json::from_str(&args.task)? {
        Task::Plan { file } => answer_with(&plan::plan(&file)?),
    }
}
