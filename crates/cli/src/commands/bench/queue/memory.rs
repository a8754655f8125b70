//! How much memory a waiting job takes.

use std::time::Duration;

use super::enqueue::Load;
use super::stage::Stage;
use super::task::{Task, Took};
use crate::commands::bench::report::{Goal, Report};
use crate::commands::bench::sides::Sides;

/// Until buffers of clients that have left are given back.
const SETTLE: Duration = Duration::from_millis(300);

pub(super) async fn measure(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let load = Load::fill(stage.sizes.memory);
    let their_load = Load { chunk: 500, ..load };
    let mut sides = Sides::default();
    // The functions take memory too, but not for each job.
    stage.rate(&Task::Submit(Load::fill(1))).await?;

    let before = empty(stage).await?;
    stage.ask::<Took>(&stage.server, &Task::Submit(load)).await?;
    sides.add("uso", each(stage, before).await?);

    let before = empty(stage).await?;
    stage.ask::<Took>(&stage.server, &Task::RawAdd(Load { chunk: 64, ..load })).await?;
    sides.add("raw XADD", each(stage, before).await?);

    let before = empty(stage).await?;
    if stage.bullmq(&their_load.words("bulk")).await.is_some() {
        sides.add("BullMQ", each(stage, before).await?);
    }
    report.row("memory of a waiting job", sides.median("uso"), "bytes", Goal::AtMost(1050.0));
    report.note(sides.describe(&format!("memory of each of {} waiting jobs, bytes", load.jobs)));
    Ok(())
}

async fn empty(stage: &Stage) -> anyhow::Result<u64> {
    stage.server.empty().await?;
    tokio::time::sleep(SETTLE).await;
    stage.server.used_memory()
}

async fn each(stage: &Stage, before: u64) -> anyhow::Result<f64> {
    tokio::time::sleep(SETTLE).await;
    Ok((stage.server.used_memory()? as f64 - before as f64) / stage.sizes.memory as f64)
}
