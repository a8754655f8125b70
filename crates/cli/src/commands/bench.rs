//! Measurements, beside what else there is, in one run on one machine.

mod api;
mod cores;
mod engine;
mod machine;
mod observed;
mod queue;
mod report;
mod resp;
mod server;
mod sides;
mod site;
mod worker;

use crate::args::{BenchArgs, BenchCommand};

pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    // One thread: a client that is measured has one core.
    let one = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match args.command {
        BenchCommand::Queue(args) => one()?.block_on(queue::run(&args)),
        BenchCommand::Client(args) => queue::client(&one()?, &args),
        BenchCommand::Engine(args) => one()?.block_on(engine::run(&args)),
        BenchCommand::EngineClient(args) => engine::client(&args),
        // As a worker has them.
        BenchCommand::Worker(args) => tokio::runtime::Runtime::new()?.block_on(worker::run(&args)),
        BenchCommand::Api(args) => tokio::runtime::Runtime::new()?.block_on(api::run(&args)),
    }
}
