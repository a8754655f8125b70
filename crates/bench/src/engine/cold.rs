//! How soon a packed model that is in no memory has done its first step.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use uso_engine::plan::{Backend, Picture};
use uso_engine::{Engine as _, ModelFiles, Setup, Uso, device};

use super::folder::{self, even};
use super::request;
use super::sizes::Sizes;
use super::task::{Start, Task, ask};
use crate::figure::{Figure, Findings, Goal, Row};

/// Seconds of a start.
#[derive(Serialize, Deserialize)]
pub(super) struct Started {
    /// Until the model was loaded.
    loaded: f64,
    /// Until the first step was done.
    first: f64,
    /// Of the second step.
    warm: f64,
}

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "cold",
    about: "How soon a packed model that is in no memory has done its first step",
    rows: &[Row {
        name: |_| {
            "packed model in q8_0 from a cold disk: to the end of the first step less a warm one, against reading it".into()
        },
        unit: "ratio",
        goal: Goal::AtMost(1.3),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let packed = tempfile::tempdir()?;
    {
        let folder = folder::model(sizes.started, u64::MAX, even)?;
        let task = Task::Pack { folder: folder.path().to_owned(), out: packed.path().to_owned() };
        ask::<u64>(&task).await?;
    }
    let file = weight_file(packed.path())?;
    let (mut ratios, mut said) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        let reading = read_cold(&file)?;
        forget(&file)?;
        let asked = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let started: Started = ask(&Task::Start(Start { folder: packed.path().to_owned(), asked })).await?;
        ratios.push((started.first - started.warm) / reading);
        said.push(format!(
            "{reading:.1} s to read, {:.1} s to load, {:.1} s to the first step, {:.1} s a step",
            started.loaded, started.first, started.warm
        ));
    }
    ratios.sort_by(f64::total_cmp);
    let note = format!("{:.1} GB packed: {}", file.metadata()?.len() as f64 / 1e9, said.join("; "));
    Ok(Findings::of([ratios.get(ratios.len() / 2).copied()]).note(note))
}

fn weight_file(folder: &Path) -> anyhow::Result<File> {
    let files = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let packed = files.iter().find(|entry| entry.path().extension().is_some_and(|end| end == "gguf"));
    Ok(File::open(packed.context("nothing was packed")?.path())?)
}

/// Has the system drop what it keeps of a file.
fn forget(file: &File) -> anyhow::Result<()> {
    fadvise(file, 0, None, Advice::DontNeed).context("cannot drop a file's pages")
}

/// Seconds of reading a file that is in no memory, from its beginning to its end.
fn read_cold(mut file: &File) -> anyhow::Result<f64> {
    use std::io::Seek as _;
    forget(file)?;
    file.rewind()?;
    let (start, mut buffer) = (Instant::now(), vec![0; 8 << 20]);
    while file.read(&mut buffer)? > 0 {}
    Ok(start.elapsed().as_secs_f64())
}

/// Loads a model in this process and does two steps.
pub(super) fn start(Start { folder, asked }: Start) -> anyhow::Result<Started> {
    const PICTURE: Picture = Picture { width: 64, height: 64, content: None, styles: 0, steps: 2 };
    let setup = Setup::new(device::open("cpu")?, Backend::Cpu.compute());
    let mut uso = Uso::load_with(&ModelFiles::Folder(folder), &setup)?;
    let since =
        || Ok::<_, anyhow::Error>(SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(asked));
    let loaded = since()?;
    let mut sample = uso.encode(&request::request(&PICTURE))?;
    uso.step(&mut sample)?;
    let (first, second) = (since()?, Instant::now());
    uso.step(&mut sample)?;
    let [loaded, first, warm] = [loaded, first, second.elapsed()].map(|time| time.as_secs_f64());
    Ok(Started { loaded, first, warm })
}
