//! `uso model pack`: writes a model as one file that loads as it is.

use anyhow::Context as _;
use uso_engine::{Model, ModelFiles, pack};

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
    let name = pack(&model, args.tier, &args.out, &mut report).context("cannot pack the model")?;
    bar.finish_and_clear();
    say(&args.out.join(name).display().to_string())
}
