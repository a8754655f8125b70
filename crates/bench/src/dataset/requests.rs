//! S3 requests of a row, from its chunk to its shard.

use std::sync::atomic::Ordering;

use super::sizes::Sizes;
use super::{batch, road};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::fleet::Fleet;
use crate::s3;

const SIDE: u32 = 147;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "requests",
    about: "S3 requests of a row, packing included",
    rows: &[Row {
        name: |sizes| format!("S3 requests a row, packing included, of {} rows", sizes.counted),
        unit: "each",
        goal: Goal::AtMost(6.0),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let (counted, requests) = s3::counted(&fleet.endpoint()).await?;
    let store = fleet.store(&counted.endpoint()).await?;
    let workers = road::workers(&fleet, &counted.endpoint(), &road::script(SIDE)).await?;
    let before = requests.load(Ordering::Relaxed);
    let batch = batch::start(&fleet.queue, &store, sizes.shard, batch::alike(sizes.counted)).await?;
    batch::until_made(&fleet.queue, &batch).await?;
    let after = requests.load(Ordering::Relaxed);
    road::stop(workers).await?;
    fleet.stop().await?;
    Ok(Findings::of([(after - before) as f64 / sizes.counted as f64]))
}
