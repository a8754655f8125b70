//! `uso model`: what a model folder holds, and whether it fits.

mod inspect;
mod plan;

use crate::args::ModelCommand;

pub(crate) fn run(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Inspect(args) => inspect::run(&args),
        ModelCommand::Plan(args) => plan::run(&args),
    }
}
