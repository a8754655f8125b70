//! `uso bench api`: the API in a process of its own, over a real Redis and a real S3 server.

mod eta;
mod http;
mod load;
mod outage;
mod pages;
mod process;
mod streams;

use clap::ValueEnum as _;

use super::cores::Cores;
use super::machine::{Machine, version};
use super::report::Report;
use crate::args::{ApiFigure, BenchApiArgs};

/// How much makes a figure.
struct Sizes {
    /// Rounds of load, and of a browser; seconds each of load takes.
    rounds: usize,
    seconds: u64,
    /// Open event streams, and events sent to them.
    streams: usize,
    events: usize,
    /// Jobs whose end is foretold.
    foretold: usize,
}

impl Sizes {
    const FULL: Self = Self { rounds: 5, seconds: 4, streams: 2000, events: 200, foretold: 200 };
    const QUICK: Self = Self { rounds: 1, seconds: 1, streams: 50, events: 5, foretold: 5 };
}

pub(super) async fn run(args: &BenchApiArgs) -> anyhow::Result<()> {
    let mut machine = Machine::look(Cores::unpinned()).await;
    machine.add("redis", version("redis-server").await.unwrap_or_default());
    machine.add("redis_settings", "appendonly yes, appendfsync everysec, no rewrite during a run");
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    let mut report = Report::new("api", machine);
    for figure in ApiFigure::value_variants() {
        if args.only.is_empty() || args.only.contains(figure) {
            measure(*figure, &sizes, &mut report).await?;
        }
    }
    report.publish(args.json.as_deref())
}

async fn measure(figure: ApiFigure, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let name = figure.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    tracing::info!("measuring {name}");
    match figure {
        ApiFigure::Load => Box::pin(load::measure(sizes, report)).await,
        ApiFigure::Streams => Box::pin(streams::measure(sizes, report)).await,
        ApiFigure::Outage => Box::pin(outage::measure(report)).await,
        ApiFigure::Eta => Box::pin(eta::measure(sizes, report)).await,
        ApiFigure::Pages => Box::pin(pages::measure(sizes, report)).await,
    }
}
