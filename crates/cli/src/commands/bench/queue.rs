//! `uso bench queue`: the queue beside raw Redis commands, and beside BullMQ and apalis where they
//! are.
//!
//! All sides use the same Redis with an append-only file synced every second, the same bytes a job and
//! the same cores, and take turns, so that what disturbs the machine disturbs all of them. Each side
//! runs in a process of its own, one after another. A figure is the median of its rounds; a ratio is
//! one of medians.

mod batches;
mod depth;
mod drain;
mod enqueue;
mod memory;
mod payload;
mod peers;
mod pickup;
mod recovery;
mod shares;
mod stage;
mod task;

use clap::ValueEnum as _;

use super::report::Report;
use crate::args::{BenchQueueArgs, QueueFigure};
use stage::Stage;

pub(super) use task::client;

pub(super) async fn run(args: &BenchQueueArgs) -> anyhow::Result<()> {
    let stage = Stage::set(args).await?;
    let mut report = Report::new("queue", stage.machine().await);
    for figure in QueueFigure::value_variants() {
        if args.only.is_empty() || args.only.contains(figure) {
            measure(*figure, &stage, &mut report).await?;
        }
    }
    report.publish(args.json.as_deref())
}

async fn measure(figure: QueueFigure, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let name = figure.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    tracing::info!("measuring {name}");
    match figure {
        QueueFigure::EnqueueOne => enqueue::one_at_a_time(stage, report).await,
        QueueFigure::EnqueueBulk => enqueue::in_bulk(stage, report).await,
        QueueFigure::Drain => drain::measure(stage, report).await,
        QueueFigure::Pickup => pickup::measure(stage, report).await,
        QueueFigure::Memory => memory::measure(stage, report).await,
        QueueFigure::Recovery => recovery::measure(stage, report).await,
        QueueFigure::Depth => depth::measure(stage, report).await,
        QueueFigure::LongestCall => batches::measure(stage, report).await,
        QueueFigure::Shares => shares::measure(stage, report).await,
    }
}
