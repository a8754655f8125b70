//! `uso-bench queue`: the queue beside raw Redis commands, and beside BullMQ and apalis where they are.
//!
//! All sides use the same Redis with an append-only file synced every second, the same bytes a job and
//! the same cores, and take turns, so that what disturbs the machine disturbs all of them. Each side
//! runs in a process of its own, one after another. A figure is the median of its rounds; a ratio is
//! one of medians.

mod batches;
mod client;
mod depth;
mod drain;
mod enqueue;
mod memory;
mod payload;
mod peers;
mod pickup;
mod recovery;
mod setup;
mod shares;
mod task;

use std::path::PathBuf;

use clap::Args;

pub(crate) use self::client::{ClientArgs, client};
use self::setup::Setup;
use crate::figure::{Figure, names};
use crate::options::Options;
use crate::report::Report;

/// All that is measured, in the order of the report.
const FIGURES: &[Figure<Setup>] = &[
    enqueue::ONE,
    enqueue::BULK,
    drain::FIGURE,
    pickup::FIGURE,
    memory::FIGURE,
    recovery::FIGURE,
    depth::FIGURE,
    batches::FIGURE,
    shares::FIGURE,
];

#[derive(Args)]
pub(crate) struct QueueArgs {
    #[command(flatten)]
    options: Options,
    /// Measure this alone; may be repeated.
    #[arg(long, value_parser = names(FIGURES), value_name = "FIGURE")]
    only: Vec<String>,
    /// Where `ops/bench/setup.sh` put the other job queues; without it, target/bench if it is there.
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
}

pub(crate) async fn run(args: &QueueArgs) -> anyhow::Result<()> {
    let setup = Setup::new(args.options.quick, args.peers.as_deref()).await?;
    let report = Report::new("queue", setup.machine().await);
    report.measure(FIGURES, &args.only, &setup).await?.publish(args.options.json.as_deref())
}
