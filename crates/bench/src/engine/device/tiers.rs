//! A picture in one tier: seconds of its steps beside the cost model's, and memory beside the plan's.

mod memory;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use uso_engine::device;
use uso_engine::plan::{Hardware, Outline, Picture, Plan, PlanOptions, T5Place, Terms};
use uso_engine::{Engine as _, Model, ModelFiles, Setup, Tier, Uso};

use super::ask::ask_within;
use super::sizes::Sizes;
use super::table::{Checked, Row};
use super::task::{DeviceTask, TierTask};
use crate::engine::folder::{self, even};
use crate::engine::request::{generate, request};

/// What one process found.
#[derive(Serialize, Deserialize)]
pub(super) struct Found {
    /// The plan in one line.
    plan: String,
    /// Bytes that the plan says, and bytes that were seen, of device memory.
    planned: u64,
    seen: Option<u64>,
    /// Median seconds of a step, and what the cost model says, if it knows the device.
    step: f64,
    expected: Option<f64>,
    floor: Option<f64>,
    /// Seconds of loading, encoding and decoding.
    loading: f64,
    encoding: f64,
    decoding: f64,
}

const GIB: f64 = (1u64 << 30) as f64;

/// Writes the model whose steps are timed.
pub(super) fn model(sizes: &Sizes) -> anyhow::Result<TempDir> {
    folder::model(sizes.shape, sizes.filled, even)
}

pub(super) async fn check(device: &str, tier: Tier, folder: &Path, sizes: &Sizes, left: Duration) -> Checked {
    let Picture { width, height, content, styles, steps } = sizes.picture;
    let task = TierTask {
        device: device.to_owned(),
        folder: folder.to_owned(),
        tier: tier.to_string(),
        picture: (width, height, content.map(|(side, _)| side), styles, steps),
    };
    let found: Found = ask_within(left, DeviceTask::Tier(task)).await?;
    let gib = |bytes: u64| bytes as f64 / GIB;
    let planned = gib(found.planned);
    let step = Row::new(format!("{tier}: a step"), found.step, "s").model(found.expected, found.floor);
    let memory = Row::new(format!("{tier}: device memory"), found.seen.map(gib), "GiB").model(planned, None);
    // A tenth more than planned would no longer fit a card that the plan calls full.
    let memory = if sizes.judged && found.seen.is_some() { memory.most(1.1 * planned) } else { memory };
    let Found { loading, encoding, decoding, .. } = found;
    let once = format!("loads {loading:.1} s, encodes {encoding:.1} s, decodes {decoding:.1} s");
    Ok(vec![step.note(found.plan), memory.note(once)])
}

/// Makes the picture in this process.
pub(super) fn run(task: &TierTask) -> anyhow::Result<Found> {
    let (width, height, content, styles, steps) = task.picture;
    let picture = Picture { width, height, content: content.map(|side| (side, side)), styles, steps };
    let files = ModelFiles::Folder(task.folder.clone());
    let outline = Outline::of(&Model::open(&files)?)?;
    let watch = memory::Watch::start(&task.device)?;
    let device = device::open(&task.device)?;
    let hardware = Hardware::of_device(&device, None, None)?;
    let is_apart = !device.is_cpu();
    let (tier, dtype) = (Some(task.tier.parse::<Tier>()?), hardware.backend.compute());
    let options = PlanOptions { tier, t5: Some(T5Place::Device), stream: false };
    let reserve = (!is_apart).then_some(0);
    let plan = Plan::new(&outline, &hardware, &Terms { picture, slots: 1, reserve, dtype, options })?;
    let begun = Instant::now();
    let mut uso = Uso::load_with(&files, &Setup::planned(device, dtype, &plan))?;
    let loading = begun.elapsed().as_secs_f64();
    watch.loaded();
    // What is made once: kernels, tables of the libraries, repacked matrices.
    generate(&mut uso, &Picture { width: 64, height: 64, content: None, styles: 0, steps: 1 })?;
    let begun = Instant::now();
    let mut sample = uso.encode(&request(&picture))?;
    let encoding = begun.elapsed().as_secs_f64();
    let mut times = Vec::new();
    while !uso.steps(&sample).is_done() {
        let begun = Instant::now();
        uso.step(&mut sample)?;
        times.push(begun.elapsed().as_secs_f64());
    }
    let begun = Instant::now();
    uso.decode(&sample)?;
    let decoding = begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let step = *times.get(times.len() / 2).context("there was no step")?;
    let cost = plan.step.as_ref();
    // Seen from outside, a card's memory includes what the driver takes.
    let driver = if is_apart { plan.device.driver_bytes + memory::DRIVER_BYTES } else { 0 };
    Ok(Found {
        plan: plan.name(),
        planned: plan.device.need_bytes + driver,
        seen: watch.most()?,
        step,
        expected: cost.map(|cost| cost.step.expected),
        floor: cost.map(|cost| cost.step.floor),
        loading,
        encoding,
        decoding,
    })
}
