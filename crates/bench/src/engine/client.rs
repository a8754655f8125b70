//! One process of a measurement.

use clap::Args;

use super::task::Task;
use super::{cold, counts, device, listings, outliers, packing, planned, text};
use crate::client::tell;

#[derive(Args)]
pub(crate) struct ClientArgs {
    /// What to do, as JSON.
    task: String,
}

/// Does what it is told, and answers with a line of JSON.
pub(crate) fn client(args: &ClientArgs) -> anyhow::Result<()> {
    match serde_json::from_str(&args.task)? {
        Task::Generate(pictures) => tell(&planned::generate(&pictures)?),
        Task::Compare { folder } => tell(&outliers::compare(folder)?),
        Task::Encode { folder, rounds } => tell(&text::encode(folder, rounds)?),
        Task::Pack { folder, out } => tell(&packing::pack(folder, &out)?),
        Task::Start(start) => tell(&cold::start(start)?),
        Task::Inspect { folder } => tell(&listings::inspect(folder)?),
        Task::Plan { folder } => tell(&listings::plan(folder)?),
        Task::Serve { part, folder } => part.serve(&folder),
        Task::Count { folder } => tell(&counts::count(folder)?),
        Task::Device(task) => device::work(&task),
    }
}
