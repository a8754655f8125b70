//! `uso-bench api`: the API in a process of its own, over a real Redis and a real S3 server.

mod eta;
mod http;
mod load;
mod outage;
mod pages;
mod process;
mod sizes;
mod streams;

use clap::Args;

use self::sizes::Sizes;
use crate::cores::Cores;
use crate::figure::{Figure, names};
use crate::machine::Machine;
use crate::options::Options;
use crate::report::Report;

/// All that is measured, in the order of the report.
const FIGURES: &[Figure<Sizes>] =
    &[load::FIGURE, streams::FIGURE, outage::FIGURE, eta::FIGURE, pages::FIGURE];

#[derive(Args)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    options: Options,
    /// Measure this alone; may be repeated.
    #[arg(long, value_parser = names(FIGURES), value_name = "FIGURE")]
    only: Vec<String>,
}

pub(crate) async fn run(args: &ApiArgs) -> anyhow::Result<()> {
    let machine = Machine::look(Cores::unpinned()).await.with_redis().await;
    let sizes = if args.options.quick { Sizes::QUICK } else { Sizes::FULL };
    let report = Report::new("api", machine);
    report.measure(FIGURES, &args.only, &sizes).await?.publish(args.options.json.as_deref())
}
