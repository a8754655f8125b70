//! Measurements, beside what else there is, in one run on one machine.

mod cores;
mod machine;
mod queue;
mod report;

use crate::args::{BenchArgs, BenchCommand};

pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    // One thread: a client that is measured has one core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.command {
        BenchCommand::Queue(args) => runtime.block_on(queue::run(&args)),
        BenchCommand::Client(args) => queue::client(&runtime, &args),
    }
}
