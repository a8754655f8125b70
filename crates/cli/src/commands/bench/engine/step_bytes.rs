//! What a step reads of the transformer's weights.

use uso_engine::model::{Manifest, Part};
use uso_engine::plan::Outline;
use uso_engine::weights::StoredType;
use uso_engine::{Model, ModelFiles};

use super::folder::{hole, placed};
use crate::commands::bench::report::{Goal, Report};

pub(super) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (manifest, folder) = (Manifest::published()?, tempfile::tempdir()?);
    for part in Part::ALL {
        let file = if part.place().ends_with('/') { "model.safetensors" } else { "" };
        let tensors = placed(manifest.tensors(part), "", |_, _| StoredType::BF16);
        hole(&folder.path().join(format!("{}{file}", part.place())), &tensors)?;
    }
    let model = Model::open(&ModelFiles::Folder(folder.path().to_owned()))?;
    let (all, needed) = Outline::of(&model)?.step_bytes();
    let figure =
        "bytes of weights that a step of FLUX.1-dev reads, with precomputed modulations against without";
    report.row(figure, Some(needed as f64 / all as f64), "ratio", Goal::AtMost(0.75));
    report.note(format!("a step reads {:.2} of {:.2} GB in bf16", needed as f64 / 1e9, all as f64 / 1e9));
    Ok(())
}
