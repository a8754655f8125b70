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
    /// Measure what the engine takes of memory and time.
    Engine(BenchEngineArgs),
    /// One side of a measurement, in a process of its own.
    #[command(hide = true)]
    Client(BenchClientArgs),
    /// One measurement of the engine, in a process of its own.
    #[command(hide = true)]
    EngineClient(BenchEngineClientArgs),
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
pub(crate) struct BenchEngineArgs {
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure this alone; may be repeated.
    #[arg(long, value_enum, value_name = "FIGURE")]
    pub(crate) only: Vec<EngineFigure>,
    /// Narrow models: shows that everything can be measured, not what it takes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The part of the large models that is written to the disk: all of it takes 25 GB for a while.
    #[arg(long, default_value_t = 1.0, value_name = "PART")]
    pub(crate) scale: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineFigure {
    /// What a plan for the CPU says of memory, against the measured peak.
    Planned,
    /// What a step reads of the transformer's weights.
    StepBytes,
    /// Eight bits where few channels are far larger than the others.
    Outliers,
    /// T5 on the host in eight bits against float32.
    Text,
    /// What packing a large model takes of memory.
    Packing,
    /// How soon a packed model that is in no memory has done its first step.
    Cold,
    /// What is said of published layouts, and how soon.
    Listings,
}

#[derive(Args)]
pub(crate) struct BenchEngineClientArgs {
    /// What to do, as JSON.
    pub(crate) task: String,
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
