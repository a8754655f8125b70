//! `uso bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure the queue beside raw Redis commands and other job queues.
    Queue(BenchQueueArgs),
    /// Measure the worker's step scheduler.
    Worker(BenchWorkerArgs),
    /// Measure the API.
    Api(BenchApiArgs),
    /// One side of a measurement, in a process of its own.
    #[command(hide = true)]
    Client(BenchClientArgs),
}

#[derive(Args)]
pub(crate) struct BenchQueueArgs {
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure this alone; may be repeated.
    #[arg(long, value_enum, value_name = "FIGURE")]
    pub(crate) only: Vec<QueueFigure>,
    /// Few jobs and one round: shows that everything can be measured, not how fast it is.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where `ops/bench/setup.sh` put the other job queues; without it, target/bench if it is there.
    #[arg(long, value_name = "DIR")]
    pub(crate) peers: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct BenchWorkerArgs {
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure this alone; may be repeated.
    #[arg(long, value_enum, value_name = "FIGURE")]
    pub(crate) only: Vec<WorkerFigure>,
    /// Few jobs: shows that everything can be measured, not how fast it is.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkerFigure {
    /// How much of its time the device waits.
    Idle,
    /// How soon an interactive job begins under bulk load.
    Interactive,
    /// What interactive jobs cost bulk work beside their steps.
    Mixed,
    /// What bulk work gets under an endless flood of interactive jobs.
    Flood,
    /// Steps done twice after workers were killed.
    Kill,
    /// Steps done twice after workers were told to stop.
    Stop,
    /// Whether a picture that was interrupted is the same.
    SameBytes,
    /// What a step costs beside itself.
    Cost,
    /// Many workers on one Redis.
    Crowd,
}

#[derive(Args)]
pub(crate) struct BenchApiArgs {
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure this alone; may be repeated.
    #[arg(long, value_enum, value_name = "FIGURE")]
    pub(crate) only: Vec<ApiFigure>,
    /// Little of everything: shows that it can be measured, not how fast it is.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApiFigure {
    /// Submissions over HTTP beside calls of the library.
    Load,
    /// Many open event streams.
    Streams,
    /// How soon a client hears that Redis is gone.
    Outage,
    /// What is foretold of a job's end against what happens.
    Eta,
    /// How soon a page shows something.
    Pages,
}

#[derive(Args)]
pub(crate) struct BenchClientArgs {
    /// The Redis that is measured.
    pub(crate) url: String,
    /// What to do, as JSON.
    pub(crate) task: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueueFigure {
    /// Jobs accepted one after another.
    EnqueueOne,
    /// Jobs accepted many in one call.
    EnqueueBulk,
    /// Jobs worked off by one process.
    Drain,
    /// How long a job waits for an idle worker.
    Pickup,
    /// Bytes a waiting job takes.
    Memory,
    /// How long a killed worker's job waits.
    Recovery,
    /// Whether a long queue is a slow queue.
    Depth,
    /// How long a batch operation keeps Redis busy at once.
    LongestCall,
    /// What tenants of different weight get.
    Shares,
}
