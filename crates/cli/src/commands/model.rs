//! Weights on disk.

mod fetch;

use crate::args::ModelCommand;

pub(crate) async fn run(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Fetch(args) => fetch::run(&args).await,
    }
}
