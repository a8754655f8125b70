//! `uso model plan`: shows whether and how a model fits. Reads only headers.

use uso_engine::plan::{Hardware, Outline, Picture, Plan, PlanOptions, Terms};
use uso_engine::{Defaults, Model, ModelFiles, device};

use crate::args::PlanArgs;
use crate::commands::print::{json, safe};
use crate::commands::say;

pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let model = Model::open(&ModelFiles::new(args.dir.as_deref()))?;
    let outline = Outline::of(&model)?;
    let hardware = hardware(args)?;
    let terms = Terms {
        picture: picture(args, &model.config().defaults),
        slots: args.slots.into(),
        reserve: args.vram_reserve,
        dtype: hardware.backend.compute(),
        options: PlanOptions { tier: args.tier, t5: args.t5, stream: args.stream },
    };
    let plan = Plan::new(&outline, &hardware, &terms)?;
    if args.json {
        return say(&json(&plan)?);
    }
    plan.lines().iter().try_for_each(|line| say(&safe(line)))
}

/// With `--vram`, a card that need not be in this machine; else the device, which is opened.
fn hardware(args: &PlanArgs) -> anyhow::Result<Hardware> {
    let device = args.device.as_deref();
    match args.vram {
        Some(vram) if device.is_none_or(|name| name.starts_with("cuda")) => {
            Ok(Hardware::of_card(vram, args.ram, args.card.as_deref())?)
        }
        vram => Ok(Hardware::of_device(&device::open(device.unwrap_or("cpu"))?, vram, args.ram)?),
    }
}

fn picture(args: &PlanArgs, defaults: &Defaults) -> Picture {
    let usual = Picture::of(defaults);
    let content = args.content_size.map(|side| (side, side)).or(usual.content);
    Picture {
        width: args.width.unwrap_or(usual.width),
        height: args.height.unwrap_or(usual.height),
        content: content.filter(|_| !args.no_content),
        styles: args.styles.unwrap_or(usual.styles),
        steps: args.steps.unwrap_or(usual.steps),
    }
}
