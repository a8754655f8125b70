//! `uso bench worker`: the step scheduler on an engine with a set step time, a real Redis and a real S3
//! server.

mod arrivals;
mod cost;
mod crowd;
mod idle;
mod recovery;
mod s3;

use clap::ValueEnum as _;

use super::cores::Cores;
use super::machine::{Machine, version};
use super::report::Report;
use crate::args::{BenchWorkerArgs, WorkerFigure};

/// How much makes a figure.
struct Sizes {
    /// Bulk jobs for the device's idle time.
    bulk: usize,
    /// Interactive jobs for their latency.
    interactive: usize,
    /// Seconds for each throughput.
    seconds: u64,
    /// Workers killed, and workers told to stop.
    kills: usize,
    stops: usize,
    /// Lanes in which they are, at once.
    lanes: usize,
    /// Steps for the cost of one.
    steps: usize,
    /// Workers on one Redis, and for how long.
    crowd: usize,
    crowd_seconds: u64,
}

impl Sizes {
    const FULL: Self = Self {
        bulk: 200,
        interactive: 300,
        seconds: 60,
        kills: 50,
        stops: 20,
        lanes: 10,
        steps: 6000,
        crowd: 500,
        crowd_seconds: 300,
    };
    const QUICK: Self = Self {
        bulk: 3,
        interactive: 5,
        seconds: 3,
        kills: 2,
        stops: 2,
        lanes: 2,
        steps: 200,
        crowd: 10,
        crowd_seconds: 3,
    };
}

pub(super) async fn run(args: &BenchWorkerArgs) -> anyhow::Result<()> {
    let mut machine = Machine::look(Cores::unpinned()).await;
    machine.add("redis", version("redis-server").await.unwrap_or_default());
    machine.add("redis_settings", "appendonly yes, appendfsync everysec, no rewrite during a run");
    machine.add("engine", "scripted, its steps sleep");
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    let mut report = Report::new("worker", machine);
    for figure in WorkerFigure::value_variants() {
        if args.only.is_empty() || args.only.contains(figure) {
            measure(*figure, &sizes, &mut report).await?;
        }
    }
    report.publish(args.json.as_deref())
}

async fn measure(figure: WorkerFigure, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let name = figure.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    tracing::info!("measuring {name}");
    match figure {
        WorkerFigure::Idle => Box::pin(idle::measure(sizes, report)).await,
        WorkerFigure::Interactive => Box::pin(arrivals::latency(sizes, report)).await,
        WorkerFigure::Mixed => Box::pin(arrivals::mixed(sizes, report)).await,
        WorkerFigure::Flood => Box::pin(arrivals::flood(sizes, report)).await,
        WorkerFigure::Kill => Box::pin(recovery::kill(sizes, report)).await,
        WorkerFigure::Stop => Box::pin(recovery::stop(sizes, report)).await,
        WorkerFigure::SameBytes => Box::pin(recovery::same_bytes(report)).await,
        WorkerFigure::Cost => Box::pin(cost::measure(sizes, report)).await,
        WorkerFigure::Crowd => Box::pin(crowd::measure(sizes, report)).await,
    }
}
