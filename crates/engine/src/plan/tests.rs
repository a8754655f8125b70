//! Plans for FLUX.1-dev by its published sizes, without files.

use candle_core::DType;

use super::trace::{Trace, Tracer};
use super::*;
use crate::config::ModelConfig;
use crate::matrix::Tier;
use crate::model::Part;
use crate::weights::StoredType;

const GIB: u64 = 1 << 30;

/// The published folder, or one whose transformer is stored otherwise.
fn flux(transformer: StoredType) -> Outline {
    let stored = |part| match part {
        Part::Transformer => transformer,
        Part::Autoencoder | Part::Clip | Part::Siglip => StoredType::F32,
        Part::T5 | Part::Lora | Part::Projector => StoredType::BF16,
    };
    Outline::published(ModelConfig::default(), stored)
}

fn hardware(vram: u64, ram: u64, card: &str) -> Hardware {
    Hardware::of_card(vram * GIB, Some(ram * GIB), Some(card)).unwrap()
}

/// One content reference, two styles, 1024x1024, 25 steps.
fn terms() -> Terms {
    Terms {
        picture: Picture::of(&ModelConfig::default().defaults),
        slots: 1,
        reserve: None,
        dtype: DType::BF16,
        wishes: Wishes::default(),
    }
}

#[test]
fn show() {
    for (vram, card) in [(24, "4090"), (16, "4080"), (12, "4070"), (8, "4060")] {
        let plan = Plan::new(&flux(StoredType::BF16), &hardware(vram, 64, card), &terms()).unwrap();
        eprintln!("{}\n", plan.lines().join("\n"));
    }
}

#[test]
fn trace_cpu() {
    let flux = crate::FluxConfig { depth: 1, depth_single_blocks: 2, ..Default::default() };
    for (side, styles, reference) in [(256, 0, 0), (256, 2, 256), (512, 1, 512), (768, 0, 0), (1024, 2, 512)] {
        let outline = Outline::published(ModelConfig { flux: flux.clone(), ..Default::default() }, |_| StoredType::BF16);
        let placement = Placement { keep: Keep::Tier(Tier::Bf16), blocks: Blocks::Resident, t5: T5Place::Device, encoders: Place::Device, maps: Place::Device };
        let picture = Picture { width: side, height: side, content: (reference > 0).then_some((reference, reference)), styles, steps: 25 };
        let trace = Tracer { outline: &outline, placement, backend: Backend::Cpu, dtype: DType::F32 }.run(&picture);
        eprintln!("{side} {styles} {reference}: kept {} peak {} at {} encode {:?} decode {:?}", trace.kept, trace.step.bytes, trace.step.at, trace.encode, trace.decode);
    }
}
