//! Published layouts at their real sizes, as headers with holes behind them: what is said of them, and how soon.

use std::path::PathBuf;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uso_engine::model::{Manifest, Part};
use uso_engine::plan::{Backend, Blocks, Hardware, Outline, Picture, Plan, PlanOptions, T5Place, Terms};
use uso_engine::weights::{Placed, StoredType};
use uso_engine::{Model, ModelFiles};

use super::folder::{hole, placed};
use super::sizes::Sizes;
use super::task::{Task, ask};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::memory;

/// Memory of cards in GiB, with 64 GiB of the host's.
const CARDS: [u64; 4] = [24, 16, 12, 8];
const RAM_BYTES: u64 = 64 << 30;

/// Layouts that models are published in.
const LAYOUTS: usize = 7;

/// What a process says of a folder.
#[derive(Serialize, Deserialize)]
pub(super) struct Said<T> {
    what: T,
    /// The most memory that the process had.
    bytes: u64,
}

/// What a plan chooses.
#[derive(Serialize, Deserialize)]
pub(super) struct Choice {
    tier: String,
    t5_on_device: bool,
    streamed: bool,
    has_seconds: bool,
}

/// The worst of all folders.
#[derive(Default)]
struct Worst {
    wrong: Vec<String>,
    seconds: f64,
    bytes: u64,
}

impl Worst {
    /// Asks a process of its own.
    async fn ask<T: DeserializeOwned>(&mut self, task: &Task) -> anyhow::Result<T> {
        let start = Instant::now();
        let said: Said<T> = ask(task).await?;
        self.seconds = self.seconds.max(start.elapsed().as_secs_f64());
        self.bytes = self.bytes.max(said.bytes);
        Ok(said.what)
    }

    /// What was found of all layouts, one of which got what it should have on so many cards.
    fn findings(self, cards: usize) -> Findings {
        let right = LAYOUTS - self.wrong.len();
        let mib = self.bytes as f64 / f64::from(1 << 20);
        let found = Findings::of([right as f64, self.seconds, mib, cards as f64]);
        if self.wrong.is_empty() { found } else { found.note(format!("wrong: {}", self.wrong.join(", "))) }
    }
}

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "listings",
    about: "What is said of published layouts, and how soon",
    rows: &[
        Row {
            name: |_| "published layouts that inspect and plan get right".into(),
            unit: "layouts",
            goal: Goal::AtLeast(LAYOUTS as f64),
        },
        Row {
            name: |_| "inspect or plan of a published layout: longest".into(),
            unit: "s",
            goal: Goal::AtMost(1.0),
        },
        Row {
            name: |_| "inspect or plan of a published layout: most memory".into(),
            unit: "MiB",
            goal: Goal::AtMost(300.0),
        },
        Row {
            name: |_| "cards of 24, 16, 12 and 8 GiB with the plan that they should get".into(),
            unit: "cards",
            goal: Goal::AtLeast(CARDS.len() as f64),
        },
    ],
    measure: |_| Box::pin(measure()),
};

async fn measure() -> anyhow::Result<Findings> {
    let (mut worst, mut cards) = (Worst::default(), 0);
    for (name, files) in kinds(&Manifest::published()?) {
        let folder = tempfile::tempdir()?;
        for (path, tensors) in &files {
            hole(&folder.path().join(path), tensors)?;
        }
        let at = folder.path().to_owned();
        let whole: bool = worst.ask(&Task::Inspect { folder: at.clone() }).await?;
        let choices: Vec<Option<Choice>> = worst.ask(&Task::Plan { folder: at }).await?;
        if !whole || choices.iter().any(Option::is_none) {
            worst.wrong.push(name.to_owned());
        }
        if name == "bf16" {
            cards =
                choices.iter().zip(CARDS).filter(|(choice, gib)| is_as_asked(choice.as_ref(), *gib)).count();
        }
    }
    Ok(worst.findings(cards))
}

/// With 24 GiB all of bf16 but T5 stays on the card; below, the blocks are made coarser; with 8 GiB they are streamed.
fn is_as_asked(choice: Option<&Choice>, gib: u64) -> bool {
    choice.is_some_and(|choice| {
        let Choice { tier, t5_on_device, streamed, has_seconds } = choice;
        let placed = match gib {
            24 => tier == "bf16" && !t5_on_device && !streamed,
            16 => ["fp8", "q8_0"].contains(&tier.as_str()) && !streamed,
            12 => ["q8_0", "q6_k", "q4_k"].contains(&tier.as_str()) && !streamed,
            _ => *streamed,
        };
        placed && *has_seconds
    })
}

/// Whether every part is there and every tensor is used or known to be unused.
pub(super) fn inspect(folder: PathBuf) -> anyhow::Result<Said<bool>> {
    let inspection = Model::open(&ModelFiles::Folder(folder))?.inspect();
    let what = inspection.complete && inspection.parts.iter().all(|part| part.added.is_empty());
    Ok(Said { what, bytes: memory::most_resident()? })
}

/// The plans for all cards; none where nothing fits.
pub(super) fn plan(folder: PathBuf) -> anyhow::Result<Said<Vec<Option<Choice>>>> {
    let model = Model::open(&ModelFiles::Folder(folder))?;
    let outline = Outline::of(&model)?;
    let picture = Picture::of(&model.config().defaults);
    let dtype = Backend::cuda().compute();
    let terms = Terms { picture, slots: 1, reserve: None, dtype, options: PlanOptions::default() };
    let what = CARDS.into_iter().map(|gib| {
        let hardware = Hardware::of_card(gib << 30, Some(RAM_BYTES), None)?;
        Ok(Plan::new(&outline, &hardware, &terms).ok().map(|plan| Choice {
            t5_on_device: plan.placement.t5 == T5Place::Device,
            streamed: plan.placement.blocks == Blocks::Streamed,
            has_seconds: plan.step.is_some(),
            tier: plan.tier,
        }))
    });
    let what = what.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Said { what, bytes: memory::most_resident()? })
}

/// A file of a layout: its path, and what it holds.
type Listed = (&'static str, Vec<Placed>);

/// The layouts that models are published in.
fn kinds(published: &Manifest) -> [(&'static str, Vec<Listed>); LAYOUTS] {
    let transformer = |stored: StoredType, plain: StoredType| {
        let in_block = |name: &str| name.contains("_blocks.") && name.ends_with(".weight");
        placed(published.tensors(Part::Transformer), "", |name, shape| {
            if in_block(name) && shape.len() == 2 { stored } else { plain }
        })
    };
    let bf16 = || transformer(StoredType::BF16, StoredType::BF16);
    let mut scaled = transformer(StoredType::F8E4M3, StoredType::BF16);
    scaled.extend(scales(&scaled));
    let mut schnell = bf16();
    schnell.retain(|tensor| !tensor.name.starts_with("guidance_in."));
    let comfy = |file, tensors| with(published, (file, tensors));
    [
        ("bf16", own(published, bf16())),
        (
            "fp8",
            comfy(
                "diffusion_models/flux1-dev-fp8.safetensors",
                transformer(StoredType::F8E4M3, StoredType::BF16),
            ),
        ),
        ("scaled fp8", comfy("diffusion_models/flux_dev_fp8_scaled.safetensors", scaled)),
        ("q8_0", comfy("unet/flux1-dev-Q8_0.gguf", transformer(StoredType::Q8_0, StoredType::F32))),
        ("q4_k", comfy("unet/flux1-dev-Q4_K_S.gguf", transformer(StoredType::Q4K, StoredType::F32))),
        ("schnell", comfy("diffusion_models/flux1-schnell.safetensors", schnell)),
        ("all in one", all_in_one(published)),
    ]
}

/// A number for each matrix, as ComfyUI's scaled files have them, and their mark.
fn scales(tensors: &[Placed]) -> Vec<Placed> {
    let matrices = tensors.iter().filter(|tensor| tensor.stored == StoredType::F8E4M3);
    let scale = |tensor: &Placed| Placed {
        name: tensor.name.replace(".weight", ".scale_weight"),
        stored: StoredType::F32,
        shape: Vec::new(),
    };
    let mark = Placed { name: "scaled_fp8".into(), stored: StoredType::F8E4M3, shape: vec![0] };
    matrices.map(scale).chain([mark]).collect()
}

/// This project's own layout.
fn own(published: &Manifest, transformer: Vec<Placed>) -> Vec<Listed> {
    let part = |part, stored| placed(published.tensors(part), "", |_, _| stored);
    vec![
        (Part::Transformer.place(), transformer),
        (Part::Autoencoder.place(), part(Part::Autoencoder, StoredType::F32)),
        (Part::Lora.place(), part(Part::Lora, StoredType::BF16)),
        (Part::Projector.place(), part(Part::Projector, StoredType::BF16)),
        ("t5-xxl/model.safetensors", part(Part::T5, StoredType::F16)),
        ("clip-vit-l14/model.safetensors", part(Part::Clip, StoredType::F32)),
        ("siglip/model.safetensors", part(Part::Siglip, StoredType::F32)),
    ]
}

/// ComfyUI's folders around a transformer.
fn with(published: &Manifest, transformer: Listed) -> Vec<Listed> {
    let part = |part, stored| placed(published.tensors(part), "", |_, _| stored);
    vec![
        transformer,
        ("vae/ae.safetensors", part(Part::Autoencoder, StoredType::F32)),
        ("text_encoders/t5xxl_fp16.safetensors", part(Part::T5, StoredType::F16)),
        ("text_encoders/clip_l.safetensors", part(Part::Clip, StoredType::F16)),
        ("loras/uso-flux1-dit-lora-v1.safetensors", part(Part::Lora, StoredType::BF16)),
        ("model_patches/uso-flux1-projector-v1.safetensors", part(Part::Projector, StoredType::BF16)),
        ("clip_vision/sigclip_vision_patch14_384.safetensors", part(Part::Siglip, StoredType::F16)),
    ]
}

/// One checkpoint in fp8 with everything but USO.
fn all_in_one(published: &Manifest) -> Vec<Listed> {
    let mut tensors = Vec::new();
    for (part, prefix) in [
        (Part::Transformer, "model.diffusion_model."),
        (Part::Autoencoder, "vae."),
        (Part::T5, "text_encoders.t5xxl.transformer."),
        (Part::Clip, "text_encoders.clip_l.transformer."),
    ] {
        let stored = |_: &str, shape: &[usize]| {
            let is_matrix = shape.len() == 2 && part != Part::Autoencoder;
            if is_matrix { StoredType::F8E4M3 } else { StoredType::BF16 }
        };
        tensors.extend(placed(published.tensors(part), prefix, stored));
    }
    let mut files = with(published, ("checkpoints/flux1-dev-fp8.safetensors", tensors));
    files.retain(|(path, _)| !path.starts_with("vae/") && !path.starts_with("text_encoders/"));
    files
}
