//! What packing a large model takes of memory.

use std::path::{Path, PathBuf};

use uso_engine::{Model, ModelFiles, Tier};

use super::folder::{self, even};
use super::task::{Task, ask};
use super::{Sizes, memory};
use crate::commands::bench::report::{Goal, Report};

const GIB: f64 = (1u64 << 30) as f64;

pub(super) async fn measure(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let folder = folder::model(sizes.packed, sizes.packed_bytes, even)?;
    let out = tempfile::tempdir()?;
    let task = Task::Pack { folder: folder.path().to_owned(), out: out.path().to_owned() };
    let peak: u64 = ask(&task).await?;
    let bytes = std::fs::metadata(folder.path().join("FLUX.1-dev/flux1-dev.safetensors"))?.len() as f64;
    let figure = "pack a transformer in bf16 to q8_0: most anonymous memory";
    report.row(figure, Some(peak as f64 / GIB), "GiB", Goal::AtMost(3.0));
    let filled = bytes.min(sizes.packed_bytes as f64) / 1e9;
    report.note(format!("packed: {:.1} GB, of which {filled:.1} GB are no holes", bytes / 1e9));
    Ok(())
}

/// Packs a folder in this process; gives back the most anonymous memory.
pub(super) fn pack(folder: PathBuf, out: &Path) -> anyhow::Result<u64> {
    let (_, peak) = memory::peak(|| {
        let model = Model::open(&ModelFiles::Folder(folder))?;
        Ok(uso_engine::pack(&model, Tier::Q8_0, out, &mut |_| {})?)
    })?;
    Ok(peak)
}
