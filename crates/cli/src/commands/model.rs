//! `uso model`: what a model folder holds.

mod inspect;

use crate::args::ModelCommand;

pub(crate) fn run(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Inspect(args) => inspect::run(&args),
    }
}
