//! How much memory a waiting job takes.

use std::time::Duration;

use super::setup::Setup;
use super::task::{Load, Task, Took};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::sides::Sides;

/// Until buffers of clients that have left are given back.
const SETTLE: Duration = Duration::from_millis(300);

pub(super) const FIGURE: Figure<Setup> = Figure {
    name: "memory",
    about: "Bytes a waiting job takes",
    rows: &[Row { name: |_| "memory of a waiting job".into(), unit: "bytes", goal: Goal::AtMost(1050.0) }],
    measure: |setup| Box::pin(measure(setup)),
};

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    let load = Load::fill(setup.sizes.memory);
    let their_load = Load { chunk: 500, ..load };
    let mut sides = Sides::default();
    // The functions take memory too, but not for each job.
    setup.rate(&Task::Submit(Load::fill(1))).await?;

    let before = empty(setup).await?;
    setup.ask::<Took>(&setup.server, &Task::Submit(load)).await?;
    sides.add("uso", each(setup, before).await?);

    let before = empty(setup).await?;
    setup.ask::<Took>(&setup.server, &Task::RawAdd(Load { chunk: 64, ..load })).await?;
    sides.add("raw XADD", each(setup, before).await?);

    let before = empty(setup).await?;
    if setup.bullmq(&their_load.words("bulk")).await.is_some() {
        sides.add("BullMQ", each(setup, before).await?);
    }
    let note = sides.describe(&format!("memory of each of {} waiting jobs, bytes", load.jobs));
    Ok(Findings::of([sides.median("uso")]).note(note))
}

async fn empty(setup: &Setup) -> anyhow::Result<u64> {
    setup.server.empty().await?;
    tokio::time::sleep(SETTLE).await;
    setup.server.used_memory()
}

async fn each(setup: &Setup, before: u64) -> anyhow::Result<f64> {
    tokio::time::sleep(SETTLE).await;
    Ok((setup.server.used_memory()? as f64 - before as f64) / setup.sizes.memory as f64)
}
