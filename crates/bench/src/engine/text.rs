//! T5 on the host in eight bits, as beside a small card, against float32.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uso_engine::matrix::Activations;
use uso_engine::model::{Manifest, Part};
use uso_engine::plan::{Backend, Keep};
use uso_engine::uso::t5::T5;
use uso_engine::weights::StoredType;
use uso_engine::{Model, ModelFiles, Place, Tier, device};

use super::folder::{even, placed, save, weights};
use super::sizes::Sizes;
use super::task::{Task, ask};
use crate::figure::{Figure, Findings, Goal, Row};

const TOKENS: usize = 512;

/// Seconds of the fastest round.
#[derive(Serialize, Deserialize)]
pub(super) struct Seconds {
    exact: f64,
    rounded: f64,
}

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "text",
    about: "T5 on the host in eight bits against float32",
    rows: &[Row {
        name: |_| "T5 of two layers, 512 tokens, in q8_0 on the CPU against f32".into(),
        unit: "ratio",
        goal: Goal::AtMost(0.6),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    if !has_vnni() {
        let note = "this processor has no avx512_vnni, which products in eight bits need";
        return Ok(Findings::of([None]).note(note));
    }
    let folder = tempfile::tempdir()?;
    // Two layers of T5-XXL, at the width that is asked for.
    let width = sizes.text_width;
    let config = json!({
        "vocab_size": 32_128, "d_model": width, "d_kv": 64, "d_ff": 5 * width / 2, "num_layers": 2,
        "num_heads": width / 64, "relative_attention_num_buckets": 32, "feed_forward_proj": "gated-gelu",
    });
    save(&folder.path().join("t5-xxl/config.json"), &serde_json::to_vec(&config)?)?;
    let manifest = Manifest { t5: serde_json::from_value(config)?, ..Manifest::published()? };
    let tensors = placed(manifest.tensors(Part::T5), "", |_, _| StoredType::BF16);
    weights(&folder.path().join("t5-xxl/model.safetensors"), &tensors, u64::MAX, even)?;
    let rounds = sizes.rounds;
    let seconds: Seconds = ask(&Task::Encode { folder: folder.path().to_owned(), rounds }).await?;
    let note = format!("two layers of T5: {:.2} s in f32, {:.2} s in q8_0", seconds.exact, seconds.rounded);
    Ok(Findings::of([seconds.rounded / seconds.exact]).note(note))
}

#[cfg(target_arch = "x86_64")]
fn has_vnni() -> bool {
    is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_vnni() -> bool {
    false
}

/// Both take turns, so that what disturbs the machine disturbs both. The first round warms up.
pub(super) fn encode(folder: PathBuf, rounds: usize) -> anyhow::Result<Seconds> {
    let model = Model::open(&ModelFiles::Folder(folder))?;
    let exact = Place::new(device::open("cpu")?, Backend::Cpu.compute());
    // As the engine keeps T5 on the host.
    let rounded = Place { keep: Keep::Tier(Tier::Q8_0), activations: Activations::Rounded, ..exact.clone() };
    let (exact, rounded) = (model.t5_encoder(&exact)?, model.t5_encoder(&rounded)?);
    let mut fastest = Seconds { exact: f64::INFINITY, rounded: f64::INFINITY };
    for round in 0..=rounds {
        let took = (seconds(&exact)?, seconds(&rounded)?);
        if round > 0 {
            fastest.exact = fastest.exact.min(took.0);
            fastest.rounded = fastest.rounded.min(took.1);
        }
    }
    Ok(fastest)
}

fn seconds(encoder: &T5) -> anyhow::Result<f64> {
    let ids: Vec<u32> = (0..TOKENS as u32).map(|at| 37 * at % 32_000).collect();
    let start = Instant::now();
    encoder.encode(&ids)?;
    Ok(start.elapsed().as_secs_f64())
}
