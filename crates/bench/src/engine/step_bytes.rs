//! What a step reads of the transformer's weights.

use uso_engine::model::{Manifest, Part};
use uso_engine::plan::Outline;
use uso_engine::weights::StoredType;
use uso_engine::{Model, ModelFiles};

use super::folder::{hole, placed};
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row};

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "step-bytes",
    about: "What a step reads of the transformer's weights",
    rows: &[Row {
        name: |_| {
            "bytes of weights that a step of FLUX.1-dev reads, with precomputed modulations against without"
                .into()
        },
        unit: "ratio",
        goal: Goal::AtMost(0.75),
    }],
    measure: |_| Box::pin(async { measure() }),
};

fn measure() -> anyhow::Result<Findings> {
    let (manifest, folder) = (Manifest::published()?, tempfile::tempdir()?);
    for part in Part::ALL {
        let file = if part.place().ends_with('/') { "model.safetensors" } else { "" };
        let tensors = placed(manifest.tensors(part), "", |_, _| StoredType::BF16);
        hole(&folder.path().join(format!("{}{file}", part.place())), &tensors)?;
    }
    let model = Model::open(&ModelFiles::Folder(folder.path().to_owned()))?;
    let (all, needed) = Outline::of(&model)?.step_bytes();
    let note = format!("a step reads {:.2} of {:.2} GB in bf16", needed as f64 / 1e9, all as f64 / 1e9);
    Ok(Findings::of([needed as f64 / all as f64]).note(note))
}
