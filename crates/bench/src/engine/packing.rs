//! What packing a large model takes of memory.

use std::path::{Path, PathBuf};

use uso_engine::{Model, ModelFiles, Tier};

use super::folder::{self, even};
use super::sizes::Sizes;
use super::task::{Task, ask};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::memory;

const GIB: f64 = (1u64 << 30) as f64;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "packing",
    about: "What packing a large model takes of memory",
    rows: &[Row {
        name: |_| "pack a transformer in bf16 to q8_0: most anonymous memory".into(),
        unit: "GiB",
        goal: Goal::AtMost(3.0),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let folder = folder::model(sizes.packed, sizes.packed_bytes, even)?;
    let out = tempfile::tempdir()?;
    let task = Task::Pack { folder: folder.path().to_owned(), out: out.path().to_owned() };
    let peak: u64 = ask(&task).await?;
    let bytes = std::fs::metadata(folder.path().join("FLUX.1-dev/flux1-dev.safetensors"))?.len() as f64;
    let filled = bytes.min(sizes.packed_bytes as f64) / 1e9;
    let note = format!("packed: {:.1} GB, of which {filled:.1} GB are no holes", bytes / 1e9);
    Ok(Findings::of([peak as f64 / GIB]).note(note))
}

/// Packs a folder in this process; gives back the most anonymous memory.
pub(super) fn pack(folder: PathBuf, out: &Path) -> anyhow::Result<u64> {
    let (_, peak) = memory::peak(|| {
        let model = Model::open(&ModelFiles::Folder(folder))?;
        Ok(uso_engine::pack(&model, Tier::Q8_0, out, &mut |_| {})?)
    })?;
    Ok(peak)
}
