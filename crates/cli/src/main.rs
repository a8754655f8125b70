#![doc = include_str!("../README.md")]

mod args;
mod causes;
mod client;
mod commands;
mod connect;
mod environment;
mod health;
mod patience;
mod progress;
mod setup;
mod shutdown;
mod telemetry;
mod threads;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    if let Err(error) = environment::clean_up() {
        // If stderr is closed, there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "uso: cannot restart with a cleaned-up environment: {error}");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    threads::set(cli.command.threads());
    telemetry::start(cli.log_format);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "uso: {}", causes::told(&error));
            exit_code(&error)
        }
    }
}

/// How long shutdown waits for threads that are blocked in system calls.
const LAST_THREADS: Duration = Duration::from_millis(500);

/// The device is lost: restart the process, or check the machine.
const DEVICE_LOST: u8 = 70;

/// The device hangs: the same, and a supervisor need not wait for the process to clean up.
const DEVICE_STUCK: u8 = 75;

fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(uso_worker::Error::DeviceLost(_)) => ExitCode::from(DEVICE_LOST),
        Some(uso_worker::Error::DeviceStuck) => ExitCode::from(DEVICE_STUCK),
        _ => ExitCode::FAILURE,
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    // Generating one picture needs no runtime: the thread of `main` owns the device.
    if let Command::Generate(args) = command {
        return commands::generate::run(&args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match command {
            Command::Up(args) => Box::pin(commands::up::run(args)).await,
            Command::Serve(args) => commands::serve::run(args).await,
            Command::Work(args) => commands::work::run(args).await,
            Command::Submit(args) => commands::submit::run(args).await,
            Command::Batch(args) => Box::pin(commands::batch::run(args)).await,
            Command::Evaluate(args) => Box::pin(commands::evaluate::run(args)).await,
            Command::Migrate(args) => commands::migrate::run(args).await,
            Command::Queue(args) => commands::queue::run(args).await,
            Command::Keys(args) => commands::keys::run(args).await,
            Command::Model(command) => commands::model::run(command).await,
            Command::Generate(_) => Ok(()),
        }
    });
    // DNS lookups run on threads that cannot be interrupted.
    runtime.shutdown_timeout(LAST_THREADS);
    ended
}
