//! Eight bits where few channels are far larger than the others, as a trained transformer has them.

use std::path::PathBuf;

use uso_engine::plan::{Backend, Keep, Picture, Placement};
use uso_engine::{Engine as _, ModelFiles, Setup, Tier, Uso, device};

use super::folder;
use super::request;
use super::sizes::Sizes;
use super::task::{Task, ask};
use crate::figure::{Figure, Findings, Goal, Row};

/// One channel in so many is larger, by this factor.
const ONE_IN: usize = 200;
const FACTOR: f32 = 30.0;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "outliers",
    about: "Eight bits where few channels are far larger than the others",
    rows: &[Row {
        name: |_| "q8_0 velocity against f32, 0.5 % of each block's input channels 30 times as large".into(),
        unit: "rel. L2",
        goal: Goal::AtMost(2e-2),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let folder = folder::model(sizes.shape, u64::MAX, outliers)?;
    let apart: f64 = ask(&Task::Compare { folder: folder.path().to_owned() }).await?;
    Ok(Findings::of([apart]))
}

/// What comes into the first block are rows of these two layers. Every block adds to its input, so that a channel which is
/// large once comes into all of them, and the norm before a block's matrices, which divides by one number a token, leaves
/// it as much larger than the others as it is.
fn outliers(name: &str, row: usize) -> f32 {
    let embeds = name.starts_with("img_in.") || name.starts_with("txt_in.");
    if embeds && row.is_multiple_of(ONE_IN) { FACTOR } else { 1.0 }
}

/// Relative difference of the velocities of a first step in the L2 norm.
pub(super) fn compare(folder: PathBuf) -> anyhow::Result<f64> {
    let files = ModelFiles::Folder(folder);
    let [exact, rounded] = [Tier::Bf16, Tier::Q8_0].map(|tier| velocity(&files, tier));
    let (exact, rounded) = (exact?, rounded?);
    let norm = |numbers: &mut dyn Iterator<Item = f32>| {
        numbers.map(|number| f64::from(number).powi(2)).sum::<f64>().sqrt()
    };
    let apart = norm(&mut exact.iter().zip(&rounded).map(|(exact, rounded)| exact - rounded));
    Ok(apart / norm(&mut exact.iter().copied()))
}

fn velocity(files: &ModelFiles, tier: Tier) -> anyhow::Result<Vec<f32>> {
    const PICTURE: Picture = Picture { width: 256, height: 256, content: None, styles: 0, steps: 1 };
    let placement = Placement { keep: Keep::Tier(tier), ..Placement::default() };
    let setup = Setup { placement, ..Setup::new(device::open("cpu")?, Backend::Cpu.compute()) };
    let mut uso = Uso::load_with(files, &setup)?;
    let sample = uso.encode(&request::request(&PICTURE))?;
    Ok(uso.velocity(&sample)?.flatten_all()?.to_vec1()?)
}
