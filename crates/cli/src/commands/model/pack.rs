//! `uso model pack`: writes a model as one file that loads as it is.

use std::io::Write as _;

use anyhow::Context as _;
use uso_engine::{Model, ModelFiles, Packed, Tier, pack};

use crate::args::PackArgs;
use crate::commands::say;
use crate::progress;

pub(crate) fn run(args: &PackArgs) -> anyhow::Result<()> {
    let model = Model::open(&ModelFiles::new(args.model.as_deref()))?;
    let bar = progress::bytes(0, "pack");
    let mut report = |progress: uso_engine::Progress| {
        bar.set_length(progress.of);
        bar.set_position(progress.done);
    };
    let packed = pack(&model, args.tier, &args.out, &mut report).context("cannot pack the model")?;
    bar.finish_and_clear();
    if let Some(others) = others(&packed, args.tier) {
        // A closed stderr must not make the file look unfinished.
        let _ = writeln!(std::io::stderr(), "uso: {others}");
    }
    say(&args.out.join(packed.name).display().to_string())
}

/// How many matrices are not in the tier, if there are any.
fn others(packed: &Packed, tier: Tier) -> Option<String> {
    let stay = packed.others.iter().map(|(stored, count)| format!("{count} stay in {stored}"));
    let stay = stay.collect::<Vec<_>>().join(" and ");
    let all = packed.matrices;
    (!stay.is_empty()).then(|| {
        format!("of the transformer's {all} matrices, {stay}: their rows are not multiples of the blocks of {tier}")
    })
}
