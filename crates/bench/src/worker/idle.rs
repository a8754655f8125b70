//! How much of its time the device waits.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use uso_engine::Image;

use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::Fleet;
use crate::s3;

const STEPS: u32 = 25;
/// Of the reference.
const FETCH: Duration = Duration::from_millis(200);
/// Of each of the two files of a picture.
const UPLOAD: Duration = Duration::from_millis(75);

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "idle",
    about: "How much of its time the device waits",
    rows: &[Row {
        name: |sizes| {
            format!(
                "device idle over {} bulk jobs of {STEPS} steps x 40 ms, fetch 200 ms, upload 150 ms",
                sizes.bulk
            )
        },
        unit: "%",
        goal: Goal::AtMost(1.0),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let fast = fleet.store(&fleet.endpoint()).await?;
    let image = Image { width: 64, height: 64, rgb: (0..64 * 64 * 3).map(|i| (i % 251) as u8).collect() };
    let content = fast.put("references/a.png", "image/png", image.to_png(&[])?.into()).await?.uri;
    let slow = s3::slow(&fleet.endpoint(), FETCH, UPLOAD).await?;

    let mut jobs = Vec::new();
    for _ in 0..sizes.bulk {
        jobs.push(fleet.submit("bulk", STEPS, json!({ "content": content })).await?.0);
    }
    let worker = fleet.worker(fleet.store(&slow.endpoint()).await?, "step=40ms").await?;
    for job in &jobs {
        let view = fleet.ended(job).await?;
        let receipt = view.output.context("a job has no picture")?.receipt;
        let (fetch, upload) = (receipt.fetch_ms, receipt.upload_ms);
        anyhow::ensure!(fetch >= 200 && upload >= 75, "S3 was too fast: {fetch} ms, {upload} ms");
    }
    let seen = worker.log.since(0);
    let (first, last) = (seen.first().context("no step")?, seen.last().context("no step")?);
    let whole = (last.ended - first.began).as_secs_f64();
    let steps: f64 = seen.iter().map(|step| (step.ended - step.began).as_secs_f64()).sum();
    let idle = 100.0 * (1.0 - steps / whole);
    worker.stop().await?;
    fleet.stop().await?;
    let note = format!("idle: {} s of steps in {} s", written(steps), written(whole));
    Ok(Findings::of([idle]).note(note))
}
