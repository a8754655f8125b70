//! `uso-bench engine`: what the engine takes of memory and time, on models of random numbers that it writes itself.
//!
//! Each measurement runs in a process of its own, so that no peak is another's. Widths are those of FLUX.1-dev; depths
//! are as small as a figure allows.

mod client;
mod cold;
mod counts;
mod demo;
mod device;
mod early;
mod folder;
mod listings;
mod outliers;
mod packing;
mod part;
mod planned;
mod request;
mod sizes;
mod speed;
mod step_bytes;
mod task;
mod text;
mod torch;
mod turns;

use clap::Args;

pub(crate) use self::client::{ClientArgs, client};
pub(crate) use self::device::{DeviceArgs, run as check_device};
use self::sizes::Sizes;
use crate::cores::Cores;
use crate::figure::{Figure, names};
use crate::machine::Machine;
use crate::options::Options;
use crate::report::Report;

/// All that is measured, in the order of the report.
const FIGURES: &[Figure<Sizes>] = &[
    planned::FIGURE,
    step_bytes::FIGURE,
    outliers::FIGURE,
    text::FIGURE,
    packing::FIGURE,
    cold::FIGURE,
    listings::FIGURE,
    counts::FIGURE,
    speed::FIGURE,
    demo::FIGURE,
    early::FIGURE,
];

#[derive(Args)]
pub(crate) struct EngineArgs {
    #[command(flatten)]
    options: Options,
    /// Measure this alone; may be repeated.
    #[arg(long, value_parser = names(FIGURES), value_name = "FIGURE")]
    only: Vec<String>,
    /// The part of the large models that is written to the disk: all of it takes 25 GB for a while.
    #[arg(long, default_value_t = 1.0, value_name = "PART")]
    scale: f64,
    /// A build of `uso` from before, for `demo`.
    #[arg(long, value_name = "BINARY")]
    before: Option<std::path::PathBuf>,
    /// Threads that each side computes on. Default: as many as this process may run at once.
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

pub(crate) async fn run(args: &EngineArgs) -> anyhow::Result<()> {
    if let Some(threads) = args.threads {
        task::use_threads(threads.get());
    }
    let machine = Machine::look(Cores::unpinned()).await;
    let sizes = if args.options.quick { Sizes::quick() } else { Sizes::full(args.scale) };
    let sizes = Sizes { before: args.before.clone(), ..sizes };
    let report = Report::new("engine", machine);
    report.measure(FIGURES, &args.only, &sizes).await?.publish(args.options.json.as_deref())
}
