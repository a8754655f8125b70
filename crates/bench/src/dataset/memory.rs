//! What Redis holds while data sets of different sizes are made.

use std::time::Duration;

use uso_queue::BatchId;

use super::sizes::Sizes;
use super::{batch, road};
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::Fleet;

const PAUSE: Duration = Duration::from_millis(50);

/// Side of a picture of about 1 KiB, its metadata included.
const SIDE: u32 = 10;

/// From when to when it is looked at, as shares of the rows that have ended.
const STEADY: (f64, f64) = (0.2, 0.8);

const MIB: f64 = (1u64 << 20) as f64;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "memory",
    about: "What Redis holds while data sets of different sizes are made",
    rows: &[
        Row {
            name: |sizes| format!("Redis while {} rows are made, largest", sizes.many),
            unit: "MiB",
            goal: Goal::AtMost(40.0),
        },
        Row {
            name: |sizes| format!("Redis while {} rows are made, against {} rows", sizes.many, sizes.few),
            unit: "% more",
            goal: Goal::Within { by: 5.0, of: 0.0 },
        },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let few = samples(sizes, sizes.few).await?;
    let many = samples(sizes, sizes.many).await?;
    let (before, after) = (mean(&few), mean(&many));
    let largest = many.iter().copied().reduce(f64::max);
    let more = before.zip(after).map(|(before, after)| 100.0 * (after / before - 1.0));
    let text = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), written);
    let note = format!("Redis, mean MiB: {} with few rows, {} with many", text(before), text(after));
    Ok(Findings::of([largest, more]).note(note))
}

fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// What Redis held in the middle of making a data set, in MiB.
async fn samples(sizes: &Sizes, rows: u64) -> anyhow::Result<Vec<f64>> {
    let fleet = Fleet::start().await?;
    let store = fleet.store(&fleet.endpoint()).await?;
    let workers = road::workers(&fleet, &fleet.endpoint(), &road::script(SIDE)).await?;
    let batch = batch::start(&fleet.queue, &store, sizes.shard, batch::alike(rows)).await?;
    let samples = tokio::select! {
        never = watch(&fleet, &batch, rows) => never?,
        made = batch::until_settled(&fleet.queue, &batch, rows) => { made?; Vec::new() }
    };
    road::stop(workers).await?;
    fleet.stop().await?;
    Ok(samples)
}

async fn watch(fleet: &Fleet, batch: &BatchId, rows: u64) -> anyhow::Result<Vec<f64>> {
    let mut samples = Vec::new();
    loop {
        // Over hours, a Redis that is slow for a moment must not cost the whole; whoever waits for the rows loses patience.
        if let Ok(view) = batch::look(&fleet.queue, batch).await {
            let settled = batch::settled(&view) as f64 / rows as f64;
            if settled > STEADY.1 {
                return Ok(samples);
            }
            if settled >= STEADY.0 {
                samples.extend(fleet.redis.used_memory().map(|bytes| bytes as f64 / MIB));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
