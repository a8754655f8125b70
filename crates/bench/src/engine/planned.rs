//! What a plan for the CPU says of memory, against the peak that is measured.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uso_engine::plan::{Hardware, Outline, Picture, Plan, PlanOptions, T5Place, Terms};
use uso_engine::{Model, ModelFiles, Setup, Tier, Uso, device};

use super::folder::{self, even};
use super::request;
use super::sizes::Sizes;
use super::task::{Pictures, Task, ask};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::memory;

/// What one picture took.
#[derive(Serialize, Deserialize)]
pub(super) struct Case {
    /// Bytes that the plan says.
    planned: u64,
    /// The most bytes of anonymous memory while it was generated, less what the process had before it loaded anything, and
    /// those of its weight file that are used where they lie.
    measured: u64,
}

impl Case {
    /// How far the plan is off, in per cent.
    fn off(&self) -> f64 {
        100.0 * (self.planned as f64 / self.measured as f64 - 1.0)
    }
}

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "planned",
    about: "What a plan for the CPU says of memory, against the measured peak",
    rows: &[Row {
        name: |sizes| {
            let cases = (sizes.tiers.len() + 1) * sizes.pictures.len();
            format!("plan for the CPU against the measured peak: farthest off of {cases} pictures")
        },
        unit: "%",
        goal: Goal::AtMost(10.0),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let folder = folder::model(sizes.shape, u64::MAX, even)?;
    let packed = tempfile::tempdir()?;
    ask::<u64>(&Task::Pack { folder: folder.path().to_owned(), out: packed.path().to_owned() }).await?;
    let tiers = sizes.tiers.iter().map(|tier| (folder.path(), Some(tier.to_string())));
    let (mut worst, mut notes): (f64, _) = (0.0, Vec::new());
    for (folder, tier) in tiers.chain([(packed.path(), None)]) {
        let kept = tier.clone().unwrap_or_else(|| "packed".into());
        for (case, picture) in generate_all(folder, tier, &sizes.pictures).await?.iter().zip(&sizes.pictures)
        {
            worst = worst.max(case.off().abs());
            notes.push(describe(&kept, picture, case));
        }
    }
    Ok(Findings { values: vec![Some(worst)], notes })
}

async fn generate_all(
    folder: &Path,
    tier: Option<String>,
    pictures: &[Picture],
) -> anyhow::Result<Vec<Case>> {
    let numbers = |picture: &Picture| {
        let content = picture.content.map(|(side, _)| side);
        (picture.width, picture.height, content, picture.styles, picture.steps)
    };
    let pictures = pictures.iter().map(numbers).collect();
    ask(&Task::Generate(Pictures { folder: folder.to_owned(), tier, pictures })).await
}

fn describe(kept: &str, picture: &Picture, case: &Case) -> String {
    let Picture { width, height, styles, .. } = picture;
    let content = picture.content.map_or(String::new(), |(side, _)| format!(", content {side}"));
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "{kept}, {width}x{height}{content}, {styles} styles: {} MiB planned, {} MiB measured, {:+.1} %",
        mib(case.planned),
        mib(case.measured),
        case.off()
    )
}

/// Generates the pictures one after the other in this process.
pub(super) fn generate(task: &Pictures) -> anyhow::Result<Vec<Case>> {
    const WARM_UP: (u32, u32, Option<u32>, u32, u32) = (64, 64, Some(64), 1, 1);
    let before = memory::anonymous()?;
    let tier: Option<Tier> = task.tier.as_deref().map(str::parse).transpose()?;
    let files = ModelFiles::Folder(task.folder.clone());
    let model = Model::open(&files)?;
    let (outline, device) = (Outline::of(&model)?, device::open("cpu")?);
    let hardware = Hardware::of_device(&device, None, None)?;
    let dtype = hardware.backend.compute();
    let plan = |picture| {
        let options = PlanOptions { tier, t5: Some(T5Place::Device), stream: false };
        Plan::new(&outline, &hardware, &Terms { picture, slots: 1, reserve: Some(0), dtype, options })
    };
    let setup = Setup::planned(device, dtype, &plan(picture(WARM_UP))?);
    let mut uso = Uso::load_with(&files, &setup)?;
    request::generate(&mut uso, &picture(WARM_UP))?;
    let mut cases = Vec::new();
    for numbers in &task.pictures {
        let picture = picture(*numbers);
        let planned = plan(picture)?.device.need_bytes;
        let ((), peak) = memory::peak(|| request::generate(&mut uso, &picture))?;
        cases.push(Case { planned, measured: peak.saturating_sub(before) + memory::mapped()? });
    }
    Ok(cases)
}

fn picture((width, height, content, styles, steps): (u32, u32, Option<u32>, u32, u32)) -> Picture {
    Picture { width, height, content: content.map(|side| (side, side)), styles, steps }
}
