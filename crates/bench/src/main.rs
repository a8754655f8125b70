#![doc = include_str!("../README.md")]

mod api;
mod client;
mod cores;
mod dataset;
mod engine;
mod figure;
mod fleet;
mod machine;
mod memory;
mod options;
mod queue;
mod report;
mod resp;
mod s3;
mod servers;
mod sides;
mod steps;
mod worker;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// Measures what this machine and this build can do.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// What to measure.
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the queue beside raw Redis commands and other job queues.
    Queue(queue::QueueArgs),
    /// Measure the worker's step scheduler.
    Worker(worker::WorkerArgs),
    /// Measure the API.
    Api(api::ApiArgs),
    /// Measure what the engine takes of memory and time.
    Engine(engine::EngineArgs),
    /// Check a device: parity, memory and seconds beside the cost model's, resumption, a run of jobs.
    Device(engine::DeviceArgs),
    /// Measure how data sets are made.
    Dataset(dataset::DatasetArgs),
    /// One side of a measurement, in a process of its own.
    #[command(hide = true)]
    Client(queue::ClientArgs),
    /// One measurement of the engine, in a process of its own.
    #[command(hide = true)]
    EngineClient(engine::ClientArgs),
    /// One measurement of data sets, in a process of its own.
    #[command(hide = true)]
    DatasetClient(dataset::ClientArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    match run(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If even this cannot be written, nobody is there to read it.
            let _ = writeln!(std::io::stderr(), "uso-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well; a figure that misses its goal is no fault.
fn run(command: Command) -> anyhow::Result<bool> {
    // One thread: a client that is measured has one core.
    let one = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done: anyhow::Result<()> = match command {
        Command::Device(args) => return Runtime::new()?.block_on(engine::check_device(&args)),
        Command::Queue(args) => one()?.block_on(queue::run(&args)),
        Command::Client(args) => queue::client(&one()?, &args),
        Command::Engine(args) => one()?.block_on(engine::run(&args)),
        Command::EngineClient(args) => engine::client(&args),
        // As a worker has them.
        Command::Worker(args) => Runtime::new()?.block_on(worker::run(&args)),
        Command::Dataset(args) => Runtime::new()?.block_on(dataset::run(&args)),
        Command::DatasetClient(args) => dataset::client(&args),
        Command::Api(args) => Runtime::new()?.block_on(api::run(&args)),
    };
    done.map(|()| true)
}

/// Logs to stderr what is measured, and not each job; `USO_LOG` says otherwise.
fn log() {
    let filter = EnvFilter::try_from_env("USO_LOG").unwrap_or_else(|_| EnvFilter::new("warn,uso_bench=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
