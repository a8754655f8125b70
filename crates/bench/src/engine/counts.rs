//! How often a job does what does not depend on the step.

use std::path::PathBuf;

use uso_engine::plan::{Backend, Picture};
use uso_engine::{Calls, ModelFiles, Setup, Uso, device};

use super::folder::{self, Shape, even};
use super::request;
use super::sizes::Sizes;
use super::task::{Task, ask};
use crate::figure::{Figure, Findings, Goal, Row};

const STYLES: u32 = 2;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "calls",
    about: "How often a job does what does not depend on the step",
    rows: &[
        Row {
            name: |_| format!("style encoder calls of a job of 25 steps with {STYLES} style pictures"),
            unit: "calls",
            goal: Goal::Within { by: 0.0, of: STYLES as f64 },
        },
        Row {
            name: |_| "modulation passes of the same job".into(),
            unit: "passes",
            goal: Goal::Within { by: 0.0, of: 1.0 },
        },
    ],
    measure: |_| Box::pin(measure()),
};

async fn measure() -> anyhow::Result<Findings> {
    let folder = folder::model(Shape { hidden: 256, double: 1, single: 1, text: 32 }, u64::MAX, even)?;
    let [styles, modulations]: [u64; 2] = ask(&Task::Count { folder: folder.path().to_owned() }).await?;
    Ok(Findings::of([styles as f64, modulations as f64]))
}

/// Counts them in this process.
pub(super) fn count(folder: PathBuf) -> anyhow::Result<[u64; 2]> {
    const PICTURE: Picture = Picture { width: 64, height: 64, content: None, styles: STYLES, steps: 25 };
    let setup = Setup::new(device::open("cpu")?, Backend::Cpu.compute());
    let mut uso = Uso::load_with(&ModelFiles::Folder(folder), &setup)?;
    let before = Calls::now();
    request::generate(&mut uso, &PICTURE)?;
    let after = Calls::now();
    Ok([after.style_encoder - before.style_encoder, after.modulations - before.modulations])
}
