//! One process of a measurement.

use clap::Args;

use super::task::Task;
use super::{cold, counts, device, early, listings, outliers, packing, planned, text};
use crate::client::answer_with;

#[derive(Args)]
pub(crate) struct ClientArgs {
    /// What to do, as JSON.
    task: String,
}

/// Does what it is told, and answers with a line of JSON.
pub(crate) fn client(args: &ClientArgs) -> anyhow::Result<()> {
    match serde_json::from_str(&args.task)? {
        Task::Generate(pictures) => answer_with(&planned::generate(&pictures)?),
        Task::Compare { folder } => answer_with(&outliers::compare(folder)?),
        Task::Encode { folder, rounds } => answer_with(&text::encode(folder, rounds)?),
        Task::Pack { folder, out } => answer_with(&packing::pack(folder, &out)?),
        Task::Start(start) => answer_with(&cold::start(start)?),
        Task::Inspect { folder } => answer_with(&listings::inspect(folder)?),
        Task::Plan { folder } => answer_with(&listings::plan(folder)?),
        Task::Serve { part, folder } => part.serve(&folder),
        Task::Count { folder } => answer_with(&counts::count(folder)?),
        Task::Early { seeds } => answer_with(&early::score(seeds)?),
        Task::Device(task) => device::work(&task),
    }
}
