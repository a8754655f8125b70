//! `uso-bench dataset`: from rows to committed shards, on an engine with a set step time, a real Redis and a real S3
//! server.

mod bare;
mod batch;
mod client;
mod grid;
mod items;
mod kill;
mod memory;
mod packing;
mod plan;
mod requests;
mod road;
mod sizes;

use clap::Args;

pub(crate) use self::client::{ClientArgs, client};
use self::sizes::Sizes;
use crate::cores::Cores;
use crate::figure::{Figure, names};
use crate::machine::Machine;
use crate::options::Options;
use crate::report::Report;

/// All that is measured, in the order of the report.
const FIGURES: &[Figure<Sizes>] = &[
    plan::FIGURE,
    road::SMALL,
    road::LARGE,
    requests::FIGURE,
    packing::FIGURE,
    memory::FIGURE,
    kill::FIGURE,
    grid::FIGURE,
];

#[derive(Args)]
pub(crate) struct DatasetArgs {
    #[command(flatten)]
    options: Options,
    /// Measure this alone; may be repeated.
    #[arg(long, value_parser = names(FIGURES), value_name = "FIGURE")]
    only: Vec<String>,
    /// The part of all rows that is measured: all of them take hours.
    #[arg(long, default_value_t = 1.0, value_name = "PART")]
    scale: f64,
}

pub(crate) async fn run(args: &DatasetArgs) -> anyhow::Result<()> {
    let mut machine = Machine::look(Cores::unpinned()).await.with_redis().await;
    machine.add("engine", "scripted, its steps sleep");
    let sizes = if args.options.quick { Sizes::QUICK } else { Sizes::full(args.scale) };
    let report = Report::new("dataset", machine);
    report.measure(FIGURES, &args.only, &sizes).await?.publish(args.options.json.as_deref())
}
