//! `uso-bench worker`: the step scheduler on an engine with a set step time, a real Redis and a real S3
//! server.

mod arrivals;
mod cost;
mod crowd;
mod idle;
mod recovery;
mod sizes;

use clap::Args;

use self::sizes::Sizes;
use crate::cores::Cores;
use crate::figure::{Figure, names};
use crate::machine::Machine;
use crate::options::Options;
use crate::report::Report;

/// All that is measured, in the order of the report.
const FIGURES: &[Figure<Sizes>] = &[
    idle::FIGURE,
    arrivals::INTERACTIVE,
    arrivals::MIXED,
    arrivals::FLOOD,
    recovery::KILL,
    recovery::STOP,
    recovery::SAME_BYTES,
    cost::FIGURE,
    crowd::FIGURE,
];

#[derive(Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    options: Options,
    /// Measure this alone; may be repeated.
    #[arg(long, value_parser = names(FIGURES), value_name = "FIGURE")]
    only: Vec<String>,
}

pub(crate) async fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    let mut machine = Machine::look(Cores::unpinned()).await.with_redis().await;
    machine.add("engine", "scripted, its steps sleep");
    let sizes = if args.options.quick { Sizes::QUICK } else { Sizes::FULL };
    let report = Report::new("worker", machine);
    report.measure(FIGURES, &args.only, &sizes).await?.publish(args.options.json.as_deref())
}
