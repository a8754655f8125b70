//! `uso model`: works with weights on disk.

mod fetch;
mod inspect;
mod pack;
mod plan;

pub(super) use self::fetch::published_scorer;
use crate::args::ModelCommand;

pub(crate) async fn run(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Fetch(args) => fetch::run(&args).await,
        ModelCommand::Inspect(args) => tokio::task::spawn_blocking(move || inspect::run(&args)).await?,
        ModelCommand::Pack(args) => tokio::task::spawn_blocking(move || pack::run(&args)).await?,
        ModelCommand::Plan(args) => tokio::task::spawn_blocking(move || plan::run(&args)).await?,
    }
}
